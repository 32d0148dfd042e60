"""`slicecache init`: five questions and a commented file that the other verbs take."""

import io
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

import slicecache
from aggregate.cohort.narrowing import read_cohort_table
from aggregate.config.section import read_aggregate_section
from cache_schema.common.pipeline_file import Pipeline, load_pipeline


def run(*words):
    return slicecache.guarded(slicecache.cli.main, list(words))


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 9, 10), np.float32), np.diag([3.0, 3.0, 3.0, 1.0])), path)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bids():
    for name in ("01", "02", "03", "04"):
        image(Path(f"data/cohort/sub-{name}/anat/sub-{name}_FLAIR.nii.gz"))
    rows = [
        "participant_id\tage\tsex\tdiagnosis",
        *(f"sub-0{i}\t{60 + i}\tF\t{'AB'[i % 2]}" for i in range(1, 5)),
    ]
    Path("data/cohort/participants.tsv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def table():
    rows = ["PTID,VISCODE,file,age,months,DX"]
    for i in range(12):
        image(Path(f"images/scan{i}.nii"))
        rows.append(f"p{i},bl,images/scan{i}.nii,{50.5 + i},{i},{'CN' if i < 6 else 'AD'}")
    Path("volumes.csv").write_text("\n".join(rows) + "\n")


def plan_runs(file="pipeline.yaml"):
    read_aggregate_section(load_pipeline(Path(file)))
    return run("plan", file) == 0


def test_five_questions_are_asked_and_the_file_plans(bids, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("data/cohort\n\n\nuntrained/tiny\n\n"))
    assert run("init") == 0
    heard = capsys.readouterr()
    assert [number for number in "12345" if f"{number}. " in heard.err] == list("12345")
    assert "diagnosis: " in heard.err
    assert "B 2" in heard.err
    assert "slicecache plan pipeline.yaml" in heard.out
    data = yaml.safe_load(Path("pipeline.yaml").read_text())
    assert data["extract"]["input"] == {"bids": "data/cohort", "suffix": "FLAIR"}
    assert data["extract"]["backbone"] == {"kind": "untrained", "size": "tiny"}
    assert data["aggregate"]["cohort"] == "data/cohort/participants.tsv"
    assert data["aggregate"]["target"] == {"column": "diagnosis", "positive": "B"}
    assert "participants.tsv has a row for 4 of 4 volumes\nwrote pipeline.yaml" in heard.out
    assert data["run"] == {"folder": "runs/cohort"}
    assert plan_runs()


def test_a_table_has_its_columns_named(table):
    assert run("init", "adni.yaml", "--images", "volumes.csv", "--backbone", "untrained/tiny", "--yes") == 0
    data = yaml.safe_load(Path("adni.yaml").read_text())
    columns = {"participant": "PTID", "path": "file", "session": "VISCODE"}
    assert data["extract"]["input"] == {"manifest": "volumes.csv", "columns": columns}
    assert data["aggregate"]["join"] == {"participant": "PTID", "session": "VISCODE"}
    assert data["aggregate"]["target"] == {"column": "DX", "positive": "AD"}
    assert (
        "('CN' is a word for those without): if that is the other, name it" in Path("adni.yaml").read_text()
    )
    assert plan_runs("adni.yaml")


def test_a_number_is_a_regression(table):
    assert run("init", "--images", "volumes.csv", "--target", "age", "--yes") == 0
    assert yaml.safe_load(Path("pipeline.yaml").read_text())["aggregate"]["target"] == {
        "column": "age",
        "task": "regression",
    }


def test_a_store_needs_no_images_and_no_backbone(make_store, scan, monkeypatch, capsys):
    store = make_store([scan(f"{i:02d}") for i in range(2)])
    Path("labels.csv").write_text("participant_id,group\n00,a\n01,b\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("labels.csv\n\n\n"))
    assert run("init", "--images", store.location) == 0
    assert "4. " not in capsys.readouterr().err
    data = yaml.safe_load(Path("pipeline.yaml").read_text())
    assert set(data) == {"run", "cache", "aggregate"}
    assert data["cache"] == {"store": store.location}
    read_aggregate_section(load_pipeline(Path("pipeline.yaml")))


def test_what_the_comments_offer_is_taken_too(bids):
    assert run("init", "--images", "data/cohort", "--yes") == 0
    text = Path("pipeline.yaml").read_text()
    offered = re.findall(
        r"^  # +((?:target|confounds|where|train|preset|slices|device|batch_size|backbone): .*?)(?:   |$)",
        text,
        re.M,
    )
    assert len(offered) == 12
    for line in offered:
        data = yaml.safe_load(text)
        key, value = next(iter(yaml.safe_load(line).items()))
        section = "aggregate" if key in ("target", "confounds", "where", "train") else "extract"
        data[section][key] = value
        read_aggregate_section(Pipeline(data, Path()))
        slicecache.imported("extract.cli:read_extract_section")(Pipeline(data, Path()))


def test_paths_are_relative_to_the_file(bids):
    Path("studies").mkdir()
    assert (
        run("init", "studies/one.yaml", "--images", "data/cohort", "--backbone", "untrained/tiny", "-y") == 0
    )
    data = yaml.safe_load(Path("studies/one.yaml").read_text())
    assert data["extract"]["input"]["bids"] == "../data/cohort"
    assert plan_runs("studies/one.yaml")


def test_a_file_that_is_there_stays_unless_forced(bids, capsys):
    Path("pipeline.yaml").write_text("mine\n")
    assert run("init", "--images", "data/cohort", "--yes") == 2
    assert "--force" in capsys.readouterr().err
    assert Path("pipeline.yaml").read_text() == "mine\n"
    assert run("init", "--images", "data/cohort", "--yes", "--force") == 0
    assert Path("pipeline.yaml").read_text() != "mine\n"


TWO_TABLES = ["--images", "volumes.csv", "--labels", "clinic.csv", "--backbone", "untrained/tiny"]

REFUSED = {
    "nothing there": (["--images", "nowhere"], "nothing at 'nowhere'"),
    "no images said": ([], "no answer to '1. Images"),
    "no BIDS": (["--images", "."], "no sub-* folder"),
    "no such target": (["--images", "volumes.csv", "--target", "month"], "did you mean 'months'"),
    "target of names": (["--images", "volumes.csv", "--target", "file"], "neither some classes nor a number"),
    "no such backbone": (
        ["--images", "volumes.csv", "--backbone", "dinov2/smal"],
        "did you mean 'dinov2/small'",
    ),
    "no such column": (["--images", "volumes.csv", "--participant", "RID"], "no column 'RID'"),
    "no such column in either": (
        [*TWO_TABLES, "--participant", "RID"],
        "'volumes.csv' and 'clinic.csv' have no column 'RID'",
    ),
    "columns the wrong way round": (
        [*TWO_TABLES, "--participant", "Patient", "--participant", "PTID"],
        "'volumes.csv' has no column 'Patient'",
    ),
    "three columns for two tables": (
        [*TWO_TABLES, *(["--participant", "PTID"] * 3)],
        "said 3 times for two",
    ),
    "no column of paths": (["--images", "clinic.csv"], "rename the one that holds them to 'path'"),
    "two things printed": (["--schema", "--reference"], "say one of them"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(case, table, capsys):
    words, said = REFUSED[case]
    clinic("Patient")
    assert run("init", "--yes", *words) == 2
    assert said in capsys.readouterr().err
    assert not Path("pipeline.yaml").exists()


def test_nobody_there_to_answer(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run("init") == 2
    assert "nothing was written" in capsys.readouterr().err


def test_ids_without_a_usual_name_are_named_by_the_option(table, capsys):
    text = Path("volumes.csv").read_text().replace("PTID", "whose")
    Path("volumes.csv").write_text(text)
    assert run("init", "--images", "volumes.csv", "--yes") == 2
    assert "--participant COLUMN" in capsys.readouterr().err
    words = ["--images", "volumes.csv", "--participant", "whose", "--backbone", "untrained/tiny"]
    assert run("init", "--yes", *words) == 0
    assert plan_runs()


def clinic(column):
    rows = [f"p{i},bl,{60 + i},F,{'AB'[i % 2]}" for i in range(12)]
    Path("clinic.csv").write_text("\n".join([f"{column},Visit,Age,Gender,Group", *rows]) + "\n")


def plans_with(labels, images="PTID"):
    data = yaml.safe_load(Path("pipeline.yaml").read_text())
    columns = {"participant": images, "path": "file", "session": "VISCODE"}
    assert data["extract"]["input"]["columns"] == columns
    assert data["aggregate"]["join"] == {"participant": labels, "session": "Visit"}
    return plan_runs()


@pytest.mark.parametrize("column", ["Patient", "Patient ID", "Subject"])
def test_two_tables_keep_the_names_of_their_own(column, table):
    clinic(column)
    assert run("init", "--yes", *TWO_TABLES) == 0
    assert plans_with(column)


def test_ids_of_one_table_are_asked_for_and_no_answer_is_lost(table, monkeypatch, capsys):
    clinic("Who")
    monkeypatch.setattr("sys.stdin", io.StringIO("volumes.csv\nclinic.csv\nWho\nGroup\nuntrained/tiny\n\n"))
    assert run("init") == 0
    asked = capsys.readouterr().err
    assert (
        "no column of 'clinic.csv' is called as ids of participants usually are; it has Who, Visit" in asked
    )
    assert plans_with("Who")


def test_ids_of_one_table_are_told_by_the_option_wherever_they_are(table, capsys):
    clinic("Who")
    assert run("init", "--yes", *TWO_TABLES) == 2
    assert "'clinic.csv'" in capsys.readouterr().err
    assert run("init", "--yes", *TWO_TABLES, "--participant", "Who") == 0
    assert plans_with("Who")


def test_ids_of_two_tables_are_told_in_their_order(table):
    clinic("Who")
    Path("volumes.csv").write_text(Path("volumes.csv").read_text().replace("PTID", "whose"))
    assert run("init", "--yes", *TWO_TABLES, "--participant", "whose", "--participant", "Who") == 0
    assert plans_with("Who", "whose")


def test_paths_and_ids_of_one_table_for_both_are_asked_for_once(table, monkeypatch):
    text = Path("volumes.csv").read_text().replace("PTID", "whose").replace("file", "where")
    Path("volumes.csv").write_text(text)
    answers = ["volumes.csv", "whose", "where", "", "DX", "untrained/tiny", ""]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(answers) + "\n"))
    assert run("init") == 0
    data = yaml.safe_load(Path("pipeline.yaml").read_text())
    assert data["extract"]["input"]["columns"]["path"] == "where"
    assert data["aggregate"]["join"]["participant"] == "whose"
    assert plan_runs()


def test_questions_whose_answers_are_piped_have_a_line_each(bids, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("data/cohort\n\n\nuntrained/tiny\n\n"))
    assert run("init") == 0
    starts = [line[:2] for line in capsys.readouterr().err.splitlines() if re.match(r"[1-5]\. ", line)]
    assert starts == ["1.", "2.", "3.", "4.", "5."]


def test_what_is_positive_is_what_a_training_would_have_had(table):
    """Of every pair of values, in whatever order and spelling they stand in the table."""
    for first, second in (("CN", "AD"), ("1", "0"), ("2.0", "10"), ("no", "yes"), ("b", "a"), ("x y", "#")):
        clinic("Patient")
        text = Path("clinic.csv").read_text().replace(",A\n", f",{first}\n").replace(",B\n", f",{second}\n")
        Path("clinic.csv").write_text(text)
        assert run("init", "--yes", "--force", *TWO_TABLES, "--target", "Group") == 0
        loaded = load_pipeline(Path("pipeline.yaml"))
        section = read_aggregate_section(loaded)
        rows = read_cohort_table(section.cohort_request(loaded))
        said = section.target.read(rows).task.classes[-1]
        by_itself = section.target.model_copy(update={"positive": None}).read(rows).task.classes[-1]
        assert said == by_itself == section.target.positive
    clinic("Patient")
    Path("clinic.csv").write_text(Path("clinic.csv").read_text().replace(",A\n", ",C\n", 1))
    assert run("init", "--yes", "--force", *TWO_TABLES, "--target", "Group") == 0
    assert "positive" not in yaml.safe_load(Path("pipeline.yaml").read_text())["aggregate"]["target"]


def test_ids_that_do_not_meet_are_said_with_what_is_to_be_typed(table, capsys):
    clinic("Patient")
    text = Path("clinic.csv").read_text()
    for i in range(10):
        text = text.replace(f"\np{i},", f"\np0{i},")
    Path("clinic.csv").write_text(text.replace("\np10,", "\nq,").replace("\np11,", "\nr,"))
    assert run("init", "--yes", *TWO_TABLES) == 0
    said = capsys.readouterr().out
    assert "note: no volume of the store matches a row of clinic.csv (joined on Patient, Visit)" in said
    assert "say join: {pad: 2}" in said
    assert "wrote pipeline.yaml" in said.splitlines()[-1]
    Path("clinic.csv").write_text(text)
    assert run("init", "--yes", "--force", *TWO_TABLES) == 0
    assert "clinic.csv has a row for 2 of 12 volumes; none for p0/bl/" in capsys.readouterr().out


def test_a_store_is_held_against_the_labels_too(make_store, scan, capsys):
    store = make_store([scan(f"{i:02d}") for i in range(2)])
    Path("labels.csv").write_text("participant_id,group\n00,a\n02,b\n")
    assert run("init", "--images", store.location, "--labels", "labels.csv", "--yes") == 0
    assert "labels.csv has a row for 1 of 2 volumes; none for 01" in capsys.readouterr().out
