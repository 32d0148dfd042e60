"""Several cohort tables as one: two hospitals' spreadsheets, each with names of its own."""

import pytest
import yaml

from aggregate.baselines.confounds import site_by_label, site_warnings
from aggregate.cohort.cohort import load_cohort
from aggregate.config.resolved import resolved
from aggregate.config.section import parse_section
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import Pipeline

NORTH = "participant_id,session_id,dx,age,qc\nsub-n1,M0,x,61,pass\nsub-n2,M0,z,-4,pass\nsub-n3,M0,x,63,fail\n"
SOUTH = "PTID,Visit,DX,Age\nS_7,bl,x,51\nS_8,bl,z,52\nS_8,m12,z,53\nS_9,bl,z,54\n"
OWN = {
    "rename": {"DX": "dx", "Age": "age"},
    "participant": "PTID",
    "session": "Visit",
    "strip_prefix": "S_",
    "pad": 3,
    "visits": {"bl": "M0", "m*": "M*"},
}
BOTH = ["north.csv", {"table": "south.csv", "join": OWN}]


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)


def load(store, folder, cohort=BOTH, **keys):
    section = parse_section({"cohort": cohort, "target": "dx", **keys})
    return load_cohort(section.cohort_request(Pipeline({}, folder)), store)


@pytest.fixture
def store(make_store, scan):
    """Sessions are numbers of three digits there."""
    found = [scan(f"sub-n{number}", "ses-M000") for number in (1, 2, 3)]
    found += [scan(f"sub-00{number}", "ses-M000") for number in (7, 8)]
    return make_store([*found, scan("sub-008", "ses-M012")])


def test_each_table_speaks_its_own_way(store, tmp_path):
    write(tmp_path, north=NORTH, south=SOUTH)
    join = {"pad": {"session": 3}}
    cohort = load(store, tmp_path, sessions="all", missing=[-4], join=join)
    found = cohort.frame[["participant_id", "session_id", "dx", "cohort_table"]].values.tolist()
    assert sorted(found) == [
        ["sub-007", "ses-M000", "x", "south"],
        ["sub-008", "ses-M000", "z", "south"],
        ["sub-008", "ses-M012", "z", "south"],
        ["sub-n1", "ses-M000", "x", "north"],
        ["sub-n2", "ses-M000", "z", "north"],
        ["sub-n3", "ses-M000", "x", "north"],
    ]
    # Numbers stay numbers, a code for missing is one in all tables, and a gap is said.
    assert cohort.table["age"].dtype == "float64"
    assert cohort.table["age"].isna().sum() == 1
    assert "south.csv has no column qc: missing in all of its rows" in cohort.notes
    assert [(item.participant_id, item.reason) for item in cohort.left_out] == [
        ("009", "in the table, not in the store")
    ]
    narrowed = load(store, tmp_path, join=join, where="cohort_table == 'south' or qc == 'pass'")
    assert sorted(narrowed.participants) == ["sub-007", "sub-008", "sub-n1", "sub-n2"]


def test_the_table_stands_for_the_site_where_there_is_none(make_store, scan, tmp_path):
    store = make_store([scan(f"p{i}") for i in range(6)])
    write(
        tmp_path, sick="participant_id,dx\np0,x\np1,x\np2,x\n", well="participant_id,dx\np3,z\np4,z\np5,z\n"
    )
    cohort = load(store, tmp_path, ["sick.csv", {"table": "well.csv", "name": "controls"}])
    found = site_by_label(cohort)
    assert found is not None
    assert sorted(map(str, found.index)) == ["controls", "sick"]
    assert site_warnings(found)


def test_a_further_table_of_one_of_them(store, tmp_path):
    write(tmp_path, north=NORTH, south=SOUTH, apoe="PTID,e4\nS_8,1\n")
    own = {**OWN, "tables": [{"table": "apoe.csv", "by": "PTID"}]}
    tables = ["north.csv", {"table": "south.csv", "join": own}]
    cohort = load(store, tmp_path, tables, join={"pad": {"session": 3}})
    assert cohort.frame.set_index("participant_id")["e4"].dropna().to_dict() == {"sub-008": 1.0}
    assert any(note.startswith("apoe.csv: 2 of 4 rows have theirs by PTID") for note in cohort.notes)


def test_a_participant_in_two_tables_is_refused(store, tmp_path):
    write(tmp_path, north=NORTH + "sub-008,M0,x,70,pass\n", south=SOUTH)
    with pytest.raises(SlicecacheError, match=r"^cohort: 008 stands in more than one table \(north, south\)"):
        load(store, tmp_path)
    write(tmp_path, north=NORTH)
    with pytest.raises(SlicecacheError, match="n1, n2, n3 stand in more than one table"):
        load(store, tmp_path, ["north.csv", {"table": "north.csv", "name": "again"}])


@pytest.mark.parametrize(
    ("cohort", "message"),
    [
        (["north.csv", "north.csv"], "more than one table is called 'north'"),
        (
            ["north.csv", {"table": "south.csv"}],
            "4 rows have no 'participant_id'",
        ),
        (
            ["north.csv", {"table": "south.csv", "join": {"participant": "ID"}}],
            "south.csv has no column 'ID'",
        ),
        (
            ["north.csv", {"table": "south.csv", "join": {"dates": {}}}],
            "unknown key aggregate.cohort.1.join.dates",
        ),
        (
            ["north.csv", {"tabel": "south.csv"}],
            "unknown key aggregate.cohort.1.tabel; did you mean 'table'",
        ),
        ([], "a list of at least 1"),
        (3, "aggregate.cohort: a path or a list of at least 1 is expected, not 3"),
        (["north.csv", "odd.csv"], "odd.csv has a column 'cohort_table'"),
        (["north.csv", "none.csv"], "none.csv"),
    ],
)
def test_what_cannot_be_meant_is_refused(store, tmp_path, cohort, message):
    write(tmp_path, north=NORTH, south=SOUTH, odd="participant_id,dx,cohort_table\np,x,a\n")
    with pytest.raises((ConfigError, SlicecacheError), match=message):
        load(store, tmp_path, cohort)


def test_the_resolved_section_runs_again(store, tmp_path):
    write(tmp_path, north=NORTH, south=SOUTH)
    data = {"run": {"folder": "run"}, "cache": {"store": store.location}}
    data["aggregate"] = {"cohort": BOTH, "target": "dx", "join": {"pad": {"session": 3}}}
    pipeline = Pipeline(data, tmp_path)
    once = resolved(pipeline, parse_section(data["aggregate"]))
    text = yaml.safe_dump(once, sort_keys=False)
    again = parse_section(yaml.safe_load(text)["aggregate"])
    elsewhere = Pipeline(once, tmp_path / "elsewhere")
    cohort = load_cohort(again.cohort_request(elsewhere), store)
    assert cohort.n_participants() == 5
    assert resolved(elsewhere, again)["aggregate"] == once["aggregate"]
