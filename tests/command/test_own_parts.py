"""The page on parts of one's own runs as it stands: files, laws, verbs and Python."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("nilearn")

import slicecache as sc
from cache_schema.common import custom
from cache_schema.store.reader import open_store

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-parts.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
PARTS = [name for name in FILES if name.startswith("my_")]
TARGETS = re.compile(r"my_\w+:\w+")


def command_lines() -> list[list[str]]:
    """What the page types, without the name of the command."""
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line.removeprefix("$ slicecache ")) for line in str(block).splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The page's files but for epochs, beside a cohort of fewer voxels, and every verb but `predict` run."""
    place = tmp_path_factory.mktemp("own")
    assert "epochs: 20}" in FILES["pipeline.yaml"]
    for name, text in FILES.items():
        (place / name).write_text(text.replace("epochs: 20}", "epochs: 3}"))
    sc.simulate(place / "cohort", 16, "lesion", coarseness=4.0, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(custom, "_given", {})
        patch.setattr(custom, "_permitted", set())
        patch.setattr(sys, "path", [part for part in sys.path if part not in ("", str(place))])
        for arguments in command_lines():
            if arguments[0] not in ("simulate", "predict"):
                assert sc.guarded(sc.cli.main, arguments) == 0, arguments
        yield place
    for name in PARTS:
        sys.modules.pop(Path(name).stem, None)


def fresh(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_short(name: str) -> None:
    lines = [line for line in FILES[name].splitlines() if line.strip()]
    assert len(lines) <= (10 if name == "my_head.py" else 30)


def test_the_page_shows_a_part_of_every_kind() -> None:
    assert PARTS == ["my_head.py", "my_loss.py", "my_detector.py", "my_backbone.py"]
    assert {target.partition(":")[0] for target in TARGETS.findall(FILES["pipeline.yaml"])} == {
        Path(name).stem for name in PARTS
    }


def test_verbs_use_the_parts(folder: Path) -> None:
    header = open_store(str(folder / "cache.zarr")).header
    assert header.fingerprint.backbone.architecture["target"] == "my_backbone:Patches"
    assert header.fingerprint.backbone.architecture["dim"] == 12
    run = folder / "runs" / "own"
    assert "HeightAttention" in set(pd.read_csv(run / "train" / "predictions.csv")["configuration"])
    points = {f"mine options.hidden={hidden} hard={weight}" for hidden in (2, 8) for weight in (0, 1)}
    assert {"mine", "plain"} | points <= set(pd.read_csv(run / "ablate" / "ablation.csv")["configuration"])
    scores = pd.read_csv(run / "detect" / "scores.csv")
    own = scores[(scores["detector"] == "UsualTokens") & (scores["part"] != "fit")]
    assert own["score"].notna().all()
    assert len(own)


PREDICTING = """
import sys
from slicecache import cli, guarded

for arguments in LINES:
    refused = guarded(cli.main, [word for word in arguments if word != "--allow-custom"])
    assert not [name for name in sys.modules if name.startswith("my_")]
    assert (refused, guarded(cli.main, arguments)) == (2, 0), arguments
"""


def test_a_fresh_process_predicts_only_if_allowed(folder: Path) -> None:
    lines = [line for line in command_lines() if line[0] == "predict"]
    assert len(lines) == 2
    # -P: the current folder is not on Python's path by itself, as it is not for the installed command.
    for line in lines:
        code = PREDICTING.replace("LINES", repr([line]))
        done = fresh(folder, "-P", "-c", code)
        assert done.returncode == 0, done.stderr
        assert "--allow-custom" in done.stderr
        assert re.search(r"imported my_(head|detector):", done.stderr)
        assert len(pd.read_csv(folder / line[-1])) == len(open_store(str(folder / "cache.zarr")).entries)


def test_python_gives_what_yaml_gives(folder: Path) -> None:
    done = fresh(folder, "use_my_parts.py")
    assert done.returncode == 0, done.stderr
    own, python = (
        pd.read_csv(folder / "runs" / run / "train" / "predictions.csv") for run in ("own", "python")
    )
    pd.testing.assert_frame_equal(own, python, rtol=0, atol=1e-5)
    first, second = (open_store(str(folder / f"{name}.zarr")) for name in ("cache", "second"))
    assert first.content_digest() == second.content_digest()
    assert re.search(r"UsualTokens +\d", done.stdout)
    assert re.search(r"floored +\d", done.stdout)
