"""The conductor: light to import, honest in its exit codes, and the only place where the stages meet."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

import slicecache
from cache_schema.common.errors import ConfigError

ROOT = Path(__file__).parents[1]
HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "zarr",
    "h5py",
    "pandas",
    "sklearn",
    "scipy",
    "nibabel",
    "pydantic",
}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a statement leaves in a fresh interpreter's `sys.modules`."""
    listing = "import sys, json; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    code = f"{statement}\n{listing}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import slicecache", HEAVY),
        ("import slicecache; slicecache.guarded(slicecache.cli.main, ['--help'])", HEAVY),
        (
            "import cache_schema, cache_schema.store.reader, cache_schema.store.writer",
            {"zarr", "h5py", "torch"},
        ),
        ("import extract, aggregate, extract.cli, aggregate.cli, cache_schema.cli", HEAVY - {"pydantic"}),
        ("import extract.slices.prepare", {"torch", "transformers", "zarr", "sklearn"}),
        ("import aggregate.train.train, aggregate.predict.predict", {"transformers", "nibabel"}),
        (
            "import aggregate.anomaly.maps.maps, aggregate.anomaly.measure.truth",
            {"transformers", "nibabel", "zarr"},
        ),
    ],
)
def test_imports_stay_light(statement: str, forbidden: set[str]) -> None:
    assert loaded_by(statement) & forbidden == set()


def imported_modules(source: str) -> set[str]:
    """Top-level packages that a source file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_conductor_imports_only_the_three_rooms_and_click() -> None:
    allowed = {"cache_schema", "extract", "aggregate", "click", *sys.stdlib_module_names}
    assert imported_modules((ROOT / "slicecache.py").read_text()) <= allowed


def test_no_room_imports_the_conductor() -> None:
    for room in ("cache_schema", "extract", "aggregate"):
        for file in (ROOT / room).rglob("*.py"):
            assert "slicecache" not in imported_modules(file.read_text()), file


def test_every_listed_command_exists() -> None:
    group = slicecache.cli
    assert isinstance(group, click.Group)
    context = click.Context(group)
    for name in group.list_commands(context):
        assert isinstance(group.get_command(context, name), click.Command), name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "Commands:"),
        (["no-such-command"], 2, "No such command"),
        (["train"], 2, "Missing argument"),
        (["train", "absent.yaml"], 2, "cannot read the pipeline 'absent.yaml'"),
        (["extract", "absent.yaml"], 2, "cannot read the pipeline 'absent.yaml'"),
        (["run", "absent.yaml"], 2, "cannot read the pipeline 'absent.yaml'"),
        (["cache", "inspect", "absent.zarr"], 2, "absent.zarr"),
        (["predict", "absent", "absent.zarr"], 2, "absent"),
    ],
)
def test_exit_codes(
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert slicecache.guarded(slicecache.cli.main, arguments) == code
    printed = capsys.readouterr()
    assert words in printed.out + printed.err
    assert "Traceback" not in printed.err


def test_expected_endings_become_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: BaseException) -> int:
        def command(args: object, standalone_mode: bool) -> None:
            raise error

        return slicecache.guarded(command)

    assert fails(ConfigError("a sentence")) == 2
    assert capsys.readouterr().err == "slicecache: a sentence\n"
    assert fails(ModuleNotFoundError("No module named 'nilearn'", name="nilearn.datasets")) == 2
    assert "slicecache[simulate]" in capsys.readouterr().err
    assert fails(KeyboardInterrupt()) == 130
    with pytest.raises(ModuleNotFoundError):
        fails(ModuleNotFoundError("No module named 'own'", name="own"))


def test_a_typo_in_stage_two_stops_the_run_before_stage_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (ROOT / "pipeline.yaml").read_text().replace("learning_rate", "learning_rat")
    (tmp_path / "p.yaml").write_text(text)
    assert slicecache.guarded(slicecache.cli.main, ["run", str(tmp_path / "p.yaml")]) == 2
    assert "did you mean 'learning_rate'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
