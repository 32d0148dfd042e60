"""Pages from top to bottom, as somebody would type them: files are written, commands and Python run."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_store import example_arrays, example_draft, example_header, example_row
from page_blocks import AFTER_THE_DEMO, FROM_NOTHING, NOTEBOOK, ROOT, blocks_of, cells_of

import slicecache
from cache_schema.format.identity import VolumeKey
from cache_schema.store.writer import StoreWriter

pytestmark = pytest.mark.slow

N = 24


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `make demo` leaves it, with a small made-up store: patients' slices are raised."""
    folder = tmp_path_factory.mktemp("demo")
    cohort = folder / "runs" / "demo" / "cohort"
    cohort.mkdir(parents=True)
    header = example_header(("cls", "patch_mean"), slice_chunk=5)
    keys = [VolumeKey(f"sub-{i:03d}", "", "T1w") for i in range(N)]
    rows = [example_row(key, 3 + i % 3) for i, key in enumerate(keys)]
    writer = StoreWriter.open(str(folder / "runs" / "demo" / "cache.zarr"), header, rows)
    lines = ["participant_id\tage\tdiagnosis"]
    for i, key in enumerate(keys):
        drawn = example_arrays(header, 3 + i % 3, i)
        shifted = {name: values + np.float32(1.2 * (i % 2)) for name, values in drawn.items()}
        writer.commit(example_draft(key, 3 + i % 3), shifted)
        lines.append(f"sub-{i:03d}\t{50 + i}\t{'patient' if i % 2 else 'control'}")
    (cohort / "participants.tsv").write_text("\n".join(lines) + "\n")
    (folder / "pipeline.yaml").write_bytes((ROOT / "pipeline.yaml").read_bytes())
    return folder


@pytest.fixture(autouse=True)
def _pdfs_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes a third of a second."""
    monkeypatch.setattr("aggregate.paper.kit.pdf", lambda drawing: b"%PDF-")


def run_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block that runs, in order, in the current folder; Python shares its names."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.file is not None and block.reason is None:
            Path(block.file).write_text(block.text)
        elif block.runs and block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
        elif block.runs:
            for program, *arguments in block.commands():
                assert program == "slicecache", f"{block}: {program} is not run here; mark the block"
                code = slicecache.guarded(slicecache.cli.main, arguments)
                assert code == 0, f"{block}: {arguments}: {capsys.readouterr().err[-2000:]}"


@pytest.mark.parametrize("page", AFTER_THE_DEMO, ids=lambda page: page.stem)
def test_a_page_runs_where_the_demo_has_been(page, demo, monkeypatch, capsys):
    monkeypatch.chdir(demo)
    run_page(page, capsys)


@pytest.mark.parametrize("page", FROM_NOTHING, ids=lambda page: page.stem)
def test_a_page_runs_from_nothing(page, tmp_path, monkeypatch, capsys):
    pytest.importorskip("nilearn")
    from extract.simulate import tree

    coarse: Callable[..., Any] = functools.partial(tree.simulate_tree, coarseness=4.0)
    monkeypatch.setattr(tree, "simulate_tree", coarse)
    monkeypatch.chdir(tmp_path)
    run_page(page, capsys)


def test_the_notebook_runs_from_top_to_bottom(demo, monkeypatch):
    """By itself and not by Jupyter, so that it runs wherever tests do."""
    monkeypatch.chdir(demo)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(cells_of(NOTEBOOK), 1):
        exec(compile(cell, f"{NOTEBOOK.name}, cell {number}", "exec"), names)
    names["plt"].close("all")
    assert names["found"].metrics["metrics"]["auroc"]["value"] > 0.8
    assert (demo / "runs" / "notebook" / "train" / "bundle").is_dir()
