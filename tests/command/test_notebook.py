"""What somebody sees in a notebook: tables that are right, short lines, errors that say what to do."""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import slicecache as sc
from aggregate.api.results import shown_table, train_table
from aggregate.targets.registry import SPECS
from cache_schema.common.terminal.called import asked_by, told_command
from cache_schema.common.terminal.command import guarded
from cache_schema.store.reader import StoreReader
from extract.outcome import Outcome

N = 24
Make = Callable[[Sequence[Any]], StoreReader]
QUICK: dict[str, Any] = {"train": {"epochs": 4, "learning_rate": 0.01}, "folds": {"n": 3}, "head": "mean"}
NUMBER = {"target": {"column": "age", "task": "regression"}, **QUICK}


@pytest.fixture
def found(store: str, table: pd.DataFrame) -> Any:
    """A training of numbers that lies nowhere."""
    return sc.train(NUMBER, store=store, cohort=table)


def made_up(names: Sequence[str]) -> dict[str, Any]:
    """A `metrics.json` in which every number is another."""
    values = {
        name: {"value": 10.0 * place, "ci_low": 10.0 * place - 1, "ci_high": 10.0 * place + 1}
        for place, name in enumerate(names, start=1)
    }
    return {"configuration": "attention", "metrics": values, "baselines": {}}


@pytest.mark.parametrize("task", sorted(SPECS))
def test_no_measure_is_taken_for_the_interval_of_another(task: str) -> None:
    names = [metric.name for metric in SPECS[task].task_class.metrics]
    row = train_table(made_up(names)).loc["attention"]
    assert len(row) == 3 * len(names)
    assert not {f"{name}_{end}" for name in ("", *names) for end in ("ci_low", "ci_high")} & set(names)
    assert sorted(row) == sorted(
        10.0 * place + end for place in range(1, len(names) + 1) for end in (-1, 0, 1)
    )
    assert (row[names[0]], row[f"{names[0]}_low"], row[f"{names[0]}_high"]) == (10, 9, 11)


def test_the_interval_of_a_regression_is_its_own(found: Any) -> None:
    told, row = found.metrics["metrics"], found.table.loc["mean"]
    for column, name in (
        ("mae", "mae"),
        ("mae_lowest_third", "mae_low"),
        ("mae_middle_third", "mae_middle"),
        ("mae_highest_third", "mae_high"),
    ):
        ends = [told[name][key] for key in ("value", "ci_low", "ci_high")]
        assert row[[column, f"{column}_low", f"{column}_high"]].tolist() == ends
    value, low, high = (told["mae"][key] for key in ("value", "ci_low", "ci_high"))
    assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in repr(found)
    assert low <= value <= high


def test_the_table_of_an_ablation_shows_the_interval_of_its_measure(store: str, table: pd.DataFrame) -> None:
    heads = {"mean": {"head": "mean"}, "max": {"head": "max"}}
    ablate = {"reference": "mean", "configurations": heads, "repeats": 1}
    found = sc.ablate({**NUMBER, "ablate": ablate}, store=store, cohort=table)
    first = found.table.iloc[0]
    span = "{:.3f} [{:.3f}, {:.3f}]".format(*first[["mae", "ci_low", "ci_high"]])
    assert shown_table(found.table)["mae"].iloc[0] == span


@pytest.mark.parametrize("where", ["no", "temporary"])
def test_explain_of_what_lies_nowhere_says_what_to_do(found: Any, where: str) -> None:
    asked = found if where == "temporary" else found.table
    with pytest.raises(sc.ConfigError, match=r"found\.save" if where == "temporary" else "not DataFrame"):
        sc.explain(asked)


def test_explain_takes_a_training_that_was_written(store: str, table: pd.DataFrame, tmp_path: Path) -> None:
    trained = sc.train(target="diagnosis", **QUICK, store=store, cohort=table, folder=tmp_path / "run")
    found = sc.explain(trained, ["leave_out"], maps=False)
    assert found.folder == tmp_path / "run" / "explain"
    assert str(found) in repr(found)
    assert found._repr_html_().startswith("<pre>")
    assert len(repr(found)) < 3000
    assert "sc.train(...), called from Python" in (tmp_path / "run" / "train" / "report.html").read_text()


def test_what_a_result_holds_is_a_line_each(found: Any, store: str) -> None:
    assert re.fullmatch(r"<Bundle of 3 heads, mean, for \w+>", repr(found.bundle))
    assert repr(found._files) == "<KeptFiles in a temporary folder, until saved>"
    assert not {"files", "draw"} & {name for name in dir(found) if not name.startswith("_")}
    assert repr(sc.open(store).to_torch("cls")) == f"<BagDataset cls of {N} volumes in {store!r}>"
    assert repr(sc.Images("scans", "a.zarr")) == "<Images 'scans' for 'a.zarr', not embedded yet>"


def test_a_check_says_ok_and_an_extraction_its_counts(store: str) -> None:
    assert repr(sc.verify(store)) == f"<Verification {store!r}: ok, {N} volumes checked>"
    key: Any = ("one", "", "T1w")
    done = Outcome("a.zarr", 3, 2, 1, 70, 1.25, "", (), volumes=(key,) * 5000)
    assert repr(done) == "<Outcome 'a.zarr': 3 embedded, 2 skipped, 1 failed, 70 slices in 1.2 s>"


def test_a_named_index_is_a_column(store: str, table: pd.DataFrame) -> None:
    plain = sc.train(NUMBER, store=store, cohort=table)
    named = sc.train(NUMBER, store=store, cohort=table.set_index("participant_id"))
    pd.testing.assert_frame_equal(named.predictions, plain.predictions)
    both = sc.train(NUMBER, store=store, cohort=table.set_index("participant_id", drop=False))
    pd.testing.assert_frame_equal(both.predictions, plain.predictions)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.rename(columns={"participant_id": "who"}),
            "the DataFrame has no column 'participant_id'",
        ),
        (lambda t: t[:0], "^the DataFrame has no rows"),
    ],
)
def test_errors_speak_of_the_dataframe(
    change: Callable[[pd.DataFrame], pd.DataFrame], said: str, store: str, table: pd.DataFrame
) -> None:
    with pytest.raises(sc.SlicecacheError, match=said) as error:
        sc.train(NUMBER, store=store, cohort=change(table))
    assert "cohort.csv" not in str(error.value)


def test_the_command_of_another_program_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/ipykernel_launcher.py", "-f", "/tmp/secret.json"])
    assert told_command("train") == "sc.train(...), called from Python"
    assert asked_by("extract") == ["sc.extract(...), called from Python"]
    for name in ("/x/bin/slicecache", "/x/slicecache.py"):
        monkeypatch.setattr(sys, "argv", [name, "train", "a file.yaml"])
        assert told_command("train") == "slicecache train 'a file.yaml'"


def test_a_command_is_told_whatever_program_it_runs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point of a container runs our command under a name of its own."""
    monkeypatch.setattr(sys, "argv", ["/opt/run.py", "/bids"])
    told = []
    for words in (["train", "a.yaml"], ["extract", "b.yaml", "--debug"]):
        assert guarded(lambda **_: told.append(told_command("train")), words) == 0
    assert told == ["slicecache train a.yaml", "slicecache extract b.yaml --debug"]
    assert told_command("train") == "sc.train(...), called from Python"


def test_a_mistake_in_a_section_has_a_short_traceback(
    store: str, table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(sc.ConfigError, match="did you mean 'mean'") as error:
        sc.train(NUMBER, store=store, cohort=table, head="meann")
    assert error.value.__suppress_context__

    def again(**_: Any) -> None:
        raise error.value

    assert guarded(again, ["--debug"]) == 2
    assert "ValidationError" in capsys.readouterr().err


def test_simulate_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(sc.ConfigError, match=r"simulate needs nilearn.*slicecache\[simulate\]"):
        sc.simulate(tmp_path / "cohort", participants=2, coarseness=4, workers=1)


def test_names_are_completed_in_a_notebook(store: str) -> None:
    """In a process of its own: the completer keeps caches, and starts helpers."""
    pytest.importorskip("jedi")
    code = """
import sys, jedi, slicecache as sc
names = {"sc": sc, "store": sc.open(sys.argv[1])}
for line in ("store.", "sc."):
    print(*(found.name for found in jedi.Interpreter(line, [names]).complete(1, len(line))))
"""
    done = subprocess.run([sys.executable, "-c", code, store], capture_output=True, text=True, check=True)
    of_store, of_module = (set(line.split()) for line in done.stdout.splitlines())
    assert {"volumes", "tokens", "prove", "to_torch"} <= of_store
    assert {"open", "train"} <= of_module
