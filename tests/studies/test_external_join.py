"""A table that calls its participants otherwise: the refusal of `evaluate` says what is to be typed."""

import re
from pathlib import Path

import pytest
import yaml
from made_up_people import people_store, words

import slicecache as sc

PEOPLE = [f"sub-a{number:02d}" for number in range(24)]
OTHERS = [f"sub-b{number:02d}" for number in range(8)]


def table(place: Path, people: list[str], column: str) -> Path:
    labels = words([number % 2 == 0 for number in range(len(people))])
    rows = [f"{name},{label}" for name, label in zip(people, labels, strict=True)]
    place.write_text("\n".join([f"{column},diagnosis", *rows]) + "\n")
    return place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose table calls its participants `Patient no`, and another store."""
    folder = tmp_path_factory.mktemp("joined")
    people_store(folder / "a.zarr", PEOPLE, [number % 2 == 0 for number in range(24)], 1)
    people_store(folder / "b.zarr", OTHERS, [number % 2 == 0 for number in range(8)], 2)
    table(folder / "a.csv", PEOPLE, "Patient no")
    section = {
        "cohort": "a.csv",
        "join": {"participant": "Patient no"},
        "target": "diagnosis",
        "train": {"epochs": 2},
        "folds": {"n": 2},
    }
    data = {"run": {"folder": "run"}, "cache": {"store": "a.zarr"}, "aggregate": section}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(data))
    sc.train(str(folder / "pipeline.yaml"), folder=folder / "run")
    return folder


def evaluate(trained: Path, run: Path, cohort: Path, *more: str) -> int:
    given = [str(trained / "run"), "--store", str(trained / "b.zarr"), "--cohort", str(cohort)]
    return sc.guarded(sc.cli.main, ["evaluate", *given, "--run", str(run), *more])


def test_the_trainings_join_is_offered_where_it_fits(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = table(tmp_path / "clinic.csv", OTHERS, "Patient no")
    assert evaluate(trained, tmp_path, cohort) == 2
    said = capsys.readouterr().err
    assert "join.participant: clinic.csv has no column 'participant_id'" in said
    (hint,) = re.findall(r'`--set "(.*)"`, as the training had it', said)
    assert hint == "join={participant: Patient no}"
    assert evaluate(trained, tmp_path, cohort, "--set", hint) == 0


def test_where_it_does_not_fit_the_column_is_asked_for(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = table(tmp_path / "clinic.csv", OTHERS, "Person")
    assert evaluate(trained, tmp_path, cohort) == 2
    said = capsys.readouterr().err
    assert 'say `--set "join={participant: COLUMN}"`' in said
    assert "as the training had it" not in said
    assert evaluate(trained, tmp_path, cohort, "--set", "join={participant: Persn}") == 2
    assert "say `--set" not in capsys.readouterr().err  # whoever says a join knows how
    assert evaluate(trained, tmp_path, cohort, "--set", "join={participant: Person}") == 0


def unpadded(place: Path) -> Path:
    """The other cohort's table as a spreadsheet leaves it: `b0` for `b00`."""
    return table(place, [name.replace("b0", "b") for name in OTHERS], "participant_id")


def test_ids_that_lost_their_zeros_come_with_the_words_to_type(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = unpadded(tmp_path / "clinic.csv")
    assert evaluate(trained, tmp_path, cohort) == 2
    said = capsys.readouterr().err
    assert 'say join: {pad: 2}; evaluate is told a join by `--set "join={...}"`' in said
    assert evaluate(trained, tmp_path, cohort, "--set", "join={pad: 2}") == 0
    strangers = table(tmp_path / "strangers.csv", [f"x{number}" for number in range(8)], "participant_id")
    assert evaluate(trained, tmp_path, strangers) == 2
    assert 'visits; evaluate is told a join by `--set "join={...}"`' in capsys.readouterr().err


def test_a_training_says_that_it_is_the_external_cohort(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its join is not the training's: what is advised has to be said in the right place."""
    data = yaml.safe_load((trained / "pipeline.yaml").read_text())
    data["run"]["folder"] = str(tmp_path / "run")
    data["cache"]["store"] = str(trained / "a.zarr")
    data["aggregate"]["cohort"] = str(trained / "a.csv")
    data["aggregate"]["external"] = {
        "store": str(trained / "b.zarr"),
        "cohort": str(unpadded(tmp_path / "clinic.csv")),
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    assert sc.guarded(sc.cli.main, ["train", str(tmp_path / "pipeline.yaml")]) == 2
    said = capsys.readouterr().err
    assert "slicecache: aggregate.external: no volume of the store matches a row of clinic.csv" in said
    assert said.rstrip().endswith("say join: {pad: 2}")
    more = ["--set", "aggregate.external.join={pad: 2}"]
    assert sc.guarded(sc.cli.main, ["train", str(tmp_path / "pipeline.yaml"), *more]) == 0
