"""Stage one from Python: a simulated cohort into a store, and nothing written but these."""

import tempfile
from pathlib import Path

import pytest
import yaml

import slicecache as sc
from cache_schema.common.pipeline_file import load_pipeline
from extract.extraction import run_extraction
from extract.planning.config import ExtractSection

SECTION = {
    "slices": {"kind": "every", "step_mm": 16},
    "canvas": 56,
    "backbone": {"kind": "untrained", "size": "tiny", "seed": 0},
    "dtype": "float32",
    "workers": 0,
}


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Two participants."""
    made = sc.simulate(tmp_path / "bids", 2, coarseness=4.0, workers=1)
    assert (made.participants, made.volumes, made.found) == (2, 2, False)
    assert sc.simulate(tmp_path / "bids", 2, coarseness=4.0, workers=1).found
    return tmp_path / "bids"


def test_an_extraction_writes_the_store_and_nothing_else(
    bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / name for name in ("cwd", "home", "temporary")]
    for place in places:
        place.mkdir()
    monkeypatch.chdir(places[0])
    monkeypatch.setenv("HOME", str(places[1]))
    monkeypatch.setattr(tempfile, "tempdir", str(places[2]))
    given = {"bids": str(bids), "suffix": "T1w"}
    outcome = sc.extract(SECTION, store=tmp_path / "cache.zarr", input=given)
    assert (outcome.embedded, outcome.failed, outcome.failures_table) == (2, 0, "")
    assert not [path for place in places for path in place.rglob("*")]
    store = sc.open(tmp_path / "cache.zarr")
    assert store.reader.content_digest() == outcome.content_digest
    assert "untrained tiny" in repr(store)
    again = sc.extract(SECTION, store=store.location, input=given)
    assert (again.embedded, again.skipped) == (0, 2)


def test_a_file_gives_what_the_command_gives(bids: Path, tmp_path: Path) -> None:
    section = {**SECTION, "input": {"bids": "bids", "suffix": "T1w"}}
    data = {"run": {"folder": "run"}, "cache": {"store": "cache.zarr"}, "extract": section}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    pipeline = load_pipeline(tmp_path / "pipeline.yaml")
    command = run_extraction(pipeline, pipeline.section("extract", ExtractSection), progress=False)
    own = sc.extract(tmp_path / "pipeline.yaml", store=tmp_path / "other.zarr", folder=tmp_path / "own")
    assert own.content_digest == command.content_digest
    assert Path(own.failures_table) == tmp_path / "own" / "failures.tsv"
    assert Path(own.failures_table).is_file()


def test_a_misspelt_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(sc.ConfigError, match="did you mean 'backbone'"):
        sc.extract({**SECTION, "backbon": {}}, store=tmp_path / "cache.zarr", input={"bids": "bids"})
