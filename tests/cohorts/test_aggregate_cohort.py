"""Who takes part, and the sentence for everybody who does not."""

from pathlib import Path

import numpy as np
import pytest

from aggregate.cohort.cohort import load_cohort, permute_labels
from aggregate.config.section import parse_section
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.format.record import Entities, UsedForeground

TABLE = "participant_id\tage\tsex\tqc\tdx\n"


def load(section, store, base):
    return load_cohort(section.cohort_request(Pipeline({}, base)), store)


def write(folder: Path, text: str, name: str = "participants.tsv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def section(**keys):
    return parse_section({"cohort": "participants.tsv", "target": "dx", **keys})


def reasons(cohort):
    return {(item.participant_id, item.session_id, item.volume_id): item.reason for item in cohort.left_out}


@pytest.fixture
def five(make_store, scan):
    return make_store([scan(f"sub-{i:02d}", n_slices=2 + i) for i in (1, 2, 3, 10, 11)])


def test_every_volume_and_row_is_accounted_for(five, tmp_path):
    write(
        tmp_path,
        TABLE
        + "01\t60\tF\tpass\tcontrol\n02\t71\tM\tfail\tpatient\n03\t55\tF\tpass\t-4\n"
        + "10\t80\tM\tpass\tpatient\n77\t50\tF\tpass\tcontrol\n",
    )
    cohort = load(section(where="qc == 'pass'", missing=[-4, -1]), five, tmp_path)
    assert cohort.frame["participant_id"].tolist() == ["sub-01", "sub-10"]
    assert cohort.classes == ("control", "patient")
    assert cohort.y.tolist() == [0, 1]
    assert cohort.frame["age"].tolist() == [60.0, 80.0]
    assert [entry.key.participant_id for entry in cohort.entries] == ["sub-01", "sub-10"]
    assert reasons(cohort) == {
        ("sub-02", "", "T1w"): "left out by where",
        ("sub-03", "", "T1w"): "target missing (-4)",
        ("sub-11", "", "T1w"): "in the store, not in the table",
        ("77", "", ""): "in the table, not in the store",
    }
    assert any("positive class: 'patient'" in note for note in cohort.notes)


def test_volumes_come_in_natural_order_of_participants(make_store, scan, tmp_path):
    store = make_store([scan("10"), scan("9"), scan("2")])
    write(tmp_path, "participant_id,dx\n2,a\n9,b\n10,a\n", "participants.tsv")
    cohort = load(section(), store, tmp_path)
    assert cohort.participants.tolist() == ["2", "9", "10"]
    assert [record.participant_id for record in cohort.records] == ["2", "9", "10"]


def test_ids_keep_their_zeros(make_store, scan, tmp_path):
    store = make_store([scan("007"), scan("7"), scan("8")])
    write(tmp_path, "participant_id\tdx\n007\ta\n7\tb\n8\tb\n")
    assert load(section(), store, tmp_path).y.tolist() == [0, 1, 1]


def test_a_column_of_the_table_never_hides_our_own(five, tmp_path):
    write(tmp_path, "participant_id\tdx\tweight\ty\n01\ta\t70\t5\n02\tb\t82\t6\n")
    cohort = load(section(), five, tmp_path)
    assert cohort.frame["weight"].tolist() == [1.0, 1.0]
    assert cohort.frame["weight (table)"].tolist() == [70.0, 82.0]
    assert cohort.frame["y"].tolist() == [0, 1]
    assert cohort.frame.columns.is_unique


def test_target_may_be_a_column_with_a_taken_name(five, tmp_path):
    write(tmp_path, "participant_id\ty\n01\t0\n02\t1\n03\t1\n")
    cohort = load(section(target="y"), five, tmp_path)
    assert cohort.y.tolist() == [0, 1, 1]


def test_sessions_weigh_one_over_their_number(make_store, scan, tmp_path):
    store = make_store([scan("1", "a"), scan("1", "b"), scan("1", "c"), scan("2", "a"), scan("3", "a")])
    write(tmp_path, "participant_id\tdx\n1\tx\n2\tz\n3\tz\n")
    everything = load(section(sessions="all"), store, tmp_path)
    assert everything.weight == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 1])
    assert everything.n_participants() == 3
    first = load(section(), store, tmp_path)
    assert first.frame["session_id"].tolist() == ["a", "a", "a"]
    assert reasons(first)[("1", "b", "T1w")] == "session not first"


def test_session_table_joins_on_both(make_store, scan, tmp_path):
    store = make_store([scan("1", "ses-1"), scan("1", "ses-2"), scan("2", "ses-1"), scan("3", "ses-1")])
    write(tmp_path, "participant_id\tsession_id\tdx\n1\t2\tx\n2\tses-1\tz\n3\t9\tz\n")
    cohort = load(section(), store, tmp_path)
    assert cohort.frame[["participant_id", "session_id"]].values.tolist() == [["1", "ses-2"], ["2", "ses-1"]]
    assert reasons(cohort) == {
        ("1", "ses-1", "T1w"): "in the store, not in the table",
        ("3", "ses-1", "T1w"): "in the store, not in the table",
        ("3", "9", ""): "in the table, not in the store",
    }


def test_first_session_is_the_first_usable_one(make_store, scan, tmp_path):
    store = make_store([scan("1", "1"), scan("1", "2"), scan("2", "1"), scan("2", "2")])
    write(tmp_path, "participant_id\tsession_id\tdx\tqc\n1\t1\ta\t0\n1\t2\ta\t1\n2\t1\tb\t1\n2\t2\tb\t1\n")
    cohort = load(section(where="qc == 1"), store, tmp_path)
    assert cohort.frame["session_id"].tolist() == ["2", "1"]


def test_a_label_that_changes_between_sessions_is_refused(make_store, scan, tmp_path):
    store = make_store([scan("1", "1"), scan("1", "2"), scan("2", "1")])
    write(tmp_path, "participant_id\tsession_id\tdx\n1\t1\tMCI\n1\t2\tAD\n2\t1\tAD\n")
    with pytest.raises(SlicecacheError, match="changes between the sessions of 1"):
        load(section(sessions="all"), store, tmp_path)


def test_several_contrasts_need_a_choice(make_store, scan, tmp_path):
    def kinds(contrast, run=""):
        return {"entities": Entities(contrast=contrast, run=run)}

    scans = []
    for i in range(1, 4):
        scans.append(scan(str(i), volume_id="T1w", n_slices=2, changes=kinds("T1w")))
        scans.append(scan(str(i), volume_id="FLAIR", n_slices=3, changes=kinds("FLAIR")))
    store = make_store(scans)
    write(tmp_path, "participant_id\tdx\n1\ta\n2\tb\n3\tb\n")
    with pytest.raises(SlicecacheError, match=r"differ in contrast: FLAIR, T1w; say which by select"):
        load(section(), store, tmp_path)
    chosen = load(section(select={"contrast": "T1w"}), store, tmp_path)
    assert chosen.frame["volume_id"].tolist() == ["T1w"] * 3
    assert reasons(chosen)[("1", "", "FLAIR")] == "not selected (contrast FLAIR)"
    joined = load(section(combine="concat"), store, tmp_path)
    assert len(joined.frame) == 3
    assert joined.bag.tolist() == [0, 0, 1, 1, 2, 2]
    assert joined.frame["slices"].tolist() == [5.0] * 3
    averaged = load(section(combine="mean"), store, tmp_path)
    assert averaged.weight.tolist() == [0.5] * 6
    assert averaged.n_participants() == 3


def test_mixed_foreground_warns(make_store, scan, tmp_path):
    brain = {"foreground": UsedForeground(kind="stripped", millilitres=1300)}
    store = make_store([scan("1", changes=brain), scan("2")])
    write(tmp_path, "participant_id\tdx\n1\ta\n2\tb\n")
    assert (
        "mixes kinds of foreground: head (1 volume), stripped (1"
        in load(section(), store, tmp_path).warnings[0]
    )


@pytest.mark.parametrize(
    ("table", "keys", "message"),
    [
        ("participant_id\tdx\n01\ta\n01\tb\n", {}, "more than one row for 01"),
        ("participant_id\tdx\n01\ta\nsub-01\ta\n", {}, "more than one row for sub-01"),
        ("PTID\tdx\n01\ta\n02\tb\n", {}, "no column 'participant_id'"),
        ("participant_id\tdx\nX1\ta\nX2\tb\n", {}, "no volume of the store matches"),
        ("participant_id\tdx\n01\ta\n77\tb\n", {}, "no volume of the store is left with b"),
        ("participant_id\tdx\n01\ta\n02\tb\n", {"where": "dx == 'c'"}, "leaves no row"),
        ("participant_id\tdx\n01\ta\n02\tb\n", {"target": "DX"}, "did you mean 'dx'"),
        ("participant_id\tdx\n01\ta\n02\tb\n", {"sessions": "frist"}, "did you mean 'first'"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(five, tmp_path, table, keys, message):
    write(tmp_path, table)
    with pytest.raises(SlicecacheError, match=message):
        load(section(**keys), five, tmp_path)


def test_where_can_choose_among_duplicate_rows(five, tmp_path):
    write(tmp_path, "participant_id\tvisit\tdx\n01\tbl\ta\n01\tm12\tb\n02\tbl\tb\n")
    cohort = load(section(where="visit == 'bl'"), five, tmp_path)
    assert cohort.y.tolist() == [0, 1]


def test_a_participant_on_both_sides_of_a_given_split_is_refused(make_store, scan, tmp_path):
    store = make_store([scan("1", "1"), scan("1", "2"), scan("2", "1"), scan("3", "1")])
    write(
        tmp_path,
        "participant_id\tsession_id\tdx\tpart\n1\t1\ta\ttrain\n1\t2\ta\ttest\n2\t1\tb\ttrain\n3\t1\tb\ttest\n",
    )
    # Session 2 of participant 1 would not even be used: the table is wrong as a whole.
    with pytest.raises(SlicecacheError, match=r"puts 1 \(test and train\) on two"):
        load(section(split="part"), store, tmp_path)
    with pytest.raises(ConfigError, match="no column 'prt'"):
        load(section(split={"column": "prt"}), store, tmp_path)


def test_permuted_labels_stay_with_the_participant(make_store, scan, tmp_path):
    scans = [scan(str(i), str(s)) for i in range(11) for s in range(1 + i % 3)]
    store = make_store(scans)
    write(tmp_path, "participant_id\tdx\n" + "".join(f"{i}\t{'ab'[i % 2]}\n" for i in range(11)))
    cohort = load(section(sessions="all"), store, tmp_path)
    before = cohort.frame.copy()
    seen = set()
    for seed in range(7):
        shuffled = permute_labels(cohort, seed)
        own = shuffled.frame.groupby("participant_id")["y"].agg(["nunique", "first"])
        assert (own["nunique"] == 1).all()
        assert sorted(own["first"]) == sorted(before.groupby("participant_id")["y"].first())
        seen.add(tuple(shuffled.y))
    assert len(seen) > 3
    assert np.array_equal(permute_labels(cohort, 3).y, permute_labels(cohort, 3).y)
    assert before.equals(cohort.frame)


def test_real_participants_table(make_store, scan, shared_data):
    folder = shared_data / "ds002748-2mm"
    names = [line.split("\t")[0] for line in (folder / "participants.tsv").read_text().splitlines()[1:]]
    store = make_store([scan(name, n_slices=1) for name in names[:-1]])
    cohort = load(section(target="group"), store, folder)
    assert cohort.classes == ("control", "depr")
    assert len(cohort.frame) == len(names) - 1
    assert [item.reason for item in cohort.left_out] == ["in the table, not in the store"]
    with pytest.raises(SlicecacheError, match="task: regression"):
        load(section(target="age"), store, folder)
