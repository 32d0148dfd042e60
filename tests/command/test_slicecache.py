"""The conductor: light to import, honest in its exit codes, and the only place where the stages meet."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import slicecache
from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.lazy_names import imported
from cache_schema.common.terminal.command import OURS, as_command

ROOT = Path(__file__).parents[2]
HELPED = (
    [[name] for name in slicecache.COMMANDS]
    + [
        ["cache", name]
        for name in ("inspect", "verify", "seal", "pack", "unpack", "remove", "export", "import")
    ]
    + [["backbone", name] for name in ("list", "fetch")]
)
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
        ("import extract.effort.estimating, extract.planning.for_store", {"torch", "openvino"}),
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


def test_the_conductor_imports_only_the_three_rooms_and_typer() -> None:
    allowed = {"cache_schema", "extract", "aggregate", "typer", *sys.stdlib_module_names}
    assert imported_modules((ROOT / "slicecache.py").read_text()) <= allowed


def test_no_room_imports_the_conductor() -> None:
    for room in ("cache_schema", "extract", "aggregate"):
        for file in (ROOT / room).rglob("*.py"):
            assert "slicecache" not in imported_modules(file.read_text()), file


def test_every_listed_command_exists() -> None:
    for name, (place, _) in slicecache.COMMANDS.items():
        assert callable(as_command(name, imported(place)).main), name


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--help"], 0, "Commands:"),
        ([], 2, "Commands:"),
        (["no-such-command"], 2, "No such command"),
        (["detct", "x.yaml"], 2, "Did you mean 'detect'?"),
        (["cache", "verfy", "x"], 2, "Did you mean 'verify'?"),
        (["train", "--jsn", "x.yaml"], 2, "--json"),
        (["simulate", "x", "--effect", "tumour"], 2, "not one of 'atrophy', 'lesion', 'none'"),
        (["recompute", "x", "--slices", "0"], 2, "--slices"),
        (["--version"], 0, "slicecache 0."),
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
    assert fails(MachineError("cannot write 'x': the disk is full")) == 3


def test_what_nobody_expected_is_one_line_too_and_debug_shows_the_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command(args: object, standalone_mode: bool) -> None:
        raise ModuleNotFoundError("No module named 'own'", name="own")

    assert slicecache.guarded(command, ["train"]) == 3
    (said,) = capsys.readouterr().err.splitlines()
    assert OURS in said
    assert "test_slicecache.py, line" in said
    assert "No module named 'own'" in said
    assert slicecache.guarded(command, ["train", "--debug"]) == 3
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_standard_output_is_one_line() -> None:
    program = [sys.executable, slicecache.__file__, "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert "slicecache: cannot " in done.stderr
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_in_use_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert slicecache.guarded(slicecache.cli.main, ["train"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    said, hint = printed.err.splitlines()
    assert said == "slicecache: Missing argument 'PIPELINE'."
    assert hint == "try: slicecache train --help"


@pytest.mark.parametrize("arguments", [["-h"], *([*name, "-h"] for name in HELPED)])
def test_help_is_plain_text(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert slicecache.guarded(slicecache.cli.main, arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Usage: ")
    assert "--help" in printed
    for odd in ("\b", "\\b", "\x1b", "╭", "`--format`"):
        assert odd not in printed


def test_help_imports_no_verb() -> None:
    statement = "import slicecache; slicecache.guarded(slicecache.cli.main, ['--help'])"
    assert loaded_by(statement) & {"extract", "aggregate", "pydantic", "yaml", "rich"} == set()


@pytest.mark.parametrize(("ending", "code"), [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_endings_from_outside_have_their_codes(
    ending: type[BaseException], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: object, **named: object) -> None:
        raise ending

    monkeypatch.setattr("cache_schema.store.describe.describe_store", stopped)
    assert slicecache.guarded(slicecache.cli.main, ["cache", "inspect", "x"]) == code


def test_a_reader_that_goes_early_is_no_mistake() -> None:
    command = f"{sys.executable} {ROOT / 'slicecache.py'} --help"
    shell = f"set -o pipefail; {command} | true; echo $?"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""


def test_debug_shows_where_a_mistake_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--debug", "train", "absent.yaml"], ["train", "absent.yaml", "--debug"]):
        assert slicecache.guarded(slicecache.cli.main, arguments) == 2
        printed = capsys.readouterr().err
        assert "Traceback" in printed
        assert "load_pipeline" in printed
        assert printed.splitlines()[-1].startswith("slicecache: cannot read the pipeline")


def test_completion_knows_the_verbs() -> None:
    settings = {
        **os.environ,
        "_SLICECACHE_COMPLETE": "complete_bash",
        "COMP_WORDS": "slicecache re",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "slicecache.py"], env=settings, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.split() == [name for name in slicecache.COMMANDS if name.startswith("re")]


def test_a_typo_in_stage_two_stops_the_run_before_stage_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (ROOT / "pipeline.yaml").read_text().replace("{start:", "{strat:")
    (tmp_path / "p.yaml").write_text(text)
    assert slicecache.guarded(slicecache.cli.main, ["run", str(tmp_path / "p.yaml")]) == 2
    assert "did you mean 'start'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
