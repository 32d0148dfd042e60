"""The lines that the README shows run as they stand, where `make demo` has been."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from page_blocks import blocks_of

from cache_schema.store.reader import StoreReader

ROOT = Path(__file__).parents[2]
N = 24


def lines_of_the_readme() -> str:
    """The code under "In Python"."""
    (found,) = (block.text for block in blocks_of(ROOT / "README.md") if block.language == "python")
    return found


@pytest.fixture
def demo(
    make_store: Callable[[Sequence[Any]], StoreReader],
    scan: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A folder as `make demo` leaves it, with a small made-up store."""
    store = make_store([scan(f"sub-{i:03d}", n_slices=3 + i % 3, shift=1.5 * (i % 2)) for i in range(N)])
    (tmp_path / "runs" / "demo" / "cohort").mkdir(parents=True)
    shutil.move(store.location, tmp_path / "runs" / "demo" / "cache.zarr")
    rows = [f"sub-{i:03d}\t{50 + i}\t{'patient' if i % 2 else 'control'}" for i in range(N)]
    table = tmp_path / "runs" / "demo" / "cohort" / "participants.tsv"
    table.write_text("\n".join(["participant_id\tage\tdiagnosis", *rows]) + "\n")
    shutil.copy(ROOT / "pipeline.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_they_are_few() -> None:
    lines = [line for line in lines_of_the_readme().splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 15


def test_they_run_as_they_stand(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(lines_of_the_readme(), "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert f"{N} of {N} participants" in printed
    assert names["found"].metrics["metrics"]["auroc"]["value"] > 0.8
    assert "mean_pool_logistic" in printed
    assert len(next(iter(names["loader"])).key) == 16
    assert list((demo / "runs" / "gated").rglob("bundle.json"))
    assert not (demo / "runs" / "demo" / "metrics.json").exists()
