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
