"""A detector of an inner block's tokens is one of a store whose last block they are, alone or as a part."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from conftest import normal_arrays
from made_up_store import example_draft, example_header, example_key, example_row

from aggregate.anomaly.detectors.combined import CombinedSpec
from aggregate.anomaly.detectors.mahalanobis import MahalanobisSpec
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.anomaly.scoring.volumes import score_volumes
from aggregate.anomaly.study.bundle import load_detectors
from aggregate.anomaly.study.predict import predict_detectors
from aggregate.detect import detect_pipeline
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.pipeline_file import load_pipeline
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.writer import StoreWriter

pytestmark = pytest.mark.numerics

LENGTHS = (9, 7, 11, 8, 9, 7)
INNER = "patches_l02"


def written(folder: Path, name: str, last: int, inner: int | None) -> StoreReader:
    """A store whose last and inner tokens follow from seeds of their own."""
    tokens = ("cls", "patches") if inner is None else ("cls", "patches", INNER)
    header = example_header(tokens, dim=11, slice_chunk=4)
    rows = [example_row(example_key(place), n) for place, n in enumerate(LENGTHS)]
    writer = StoreWriter.open(str(folder / name), header, rows)
    for place, n in enumerate(LENGTHS):
        arrays = normal_arrays(header, n, place)
        arrays["patches"] = normal_arrays(header, n, last + place)["patches"]
        if inner is not None:
            arrays[INNER] = normal_arrays(header, n, inner + place)["patches"]
        writer.commit(example_draft(example_key(place), n), arrays)
    return open_store(str(folder / name))


def scores_of(store: StoreReader, spec: Any) -> torch.Tensor:
    detector = spec.build(0)
    layers = (INNER,) if INNER in str(spec) else ()
    stream = open_stream(store, store.entries[:4], layers=layers)
    fit([detector], stream, open_stream(store, store.entries[4:5], layers=layers))
    asked = open_stream(store, store.entries[5:], layers=layers)
    ((_, (found,)),) = score_volumes(asked, lambda _: [detector])
    return torch.from_numpy(found.tokens)


@pytest.mark.parametrize("part", [False, True])
def test_an_inner_block_is_read_as_if_it_were_the_last(tmp_path, part):
    both = written(tmp_path, "both.zarr", last=0, inner=100)
    swapped = written(tmp_path, "swapped.zarr", last=100, inner=None)
    inner, last = MahalanobisSpec(tokens=INNER), MahalanobisSpec()
    if part:
        inner, last = CombinedSpec(parts=(inner,)), CombinedSpec(parts=(last,))
    torch.testing.assert_close(scores_of(both, inner), scores_of(swapped, last), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(scores_of(both, inner), scores_of(both, last))


def test_a_store_without_the_block_says_how_to_extract_it(tmp_path):
    store = written(tmp_path, "one.zarr", last=0, inner=None)
    with pytest.raises(ConfigError, match=r"patches_l02.*is not there; extract with `tokens: "):
        open_stream(store, layers=(INNER,))


def test_spec_and_stream_without_inner_blocks_are_what_they_were(tmp_path):
    store = written(tmp_path, "one.zarr", last=0, inner=100)
    assert "tokens" not in MahalanobisSpec().model_dump()
    assert open_stream(store).digest != open_stream(store, layers=(INNER,)).digest
    with pytest.raises(ValueError, match="tokens"):
        MahalanobisSpec(tokens="cls")


def test_a_bundle_reads_the_same_block(tmp_path, monkeypatch):
    monkeypatch.setattr("aggregate.anomaly.findings.measure.DRAWS", 20)
    written(tmp_path, "both.zarr", last=0, inner=100)
    rows = [f"p{place:03d}\t{'control' if place < 5 else 'patient'}" for place in range(len(LENGTHS))]
    (tmp_path / "participants.tsv").write_text("\n".join(["participant_id\tdiagnosis", *rows]) + "\n")
    parts = [{"kind": "mahalanobis"}, {"kind": "mahalanobis", "tokens": INNER}]
    detect = {
        "reference": {"column": "diagnosis", "value": "control"},
        "detectors": [{"kind": "mahalanobis", "tokens": INNER}, {"kind": "combined", "parts": parts}],
        "maps": "none",
    }
    data = {
        "run": {"folder": "run"},
        "cache": {"store": "both.zarr"},
        "aggregate": {"cohort": "participants.tsv", "detect": detect},
    }
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(data))
    detect_pipeline(load_pipeline(tmp_path / "pipeline.yaml"))
    bundle = load_detectors(tmp_path / "run" / "detect" / "bundle")
    assert bundle.layers == (INNER,)
    found, _ = predict_detectors(bundle, open_store(tmp_path / "both.zarr"))
    told = pd.read_csv(tmp_path / "run" / "detect" / "scores.csv")
    told = told[told["detector"].isin(["mahalanobis", "combined"])]
    keys = ["participant_id", "detector"]
    merged = told.merge(found, on=keys, suffixes=("", "_again")).dropna(subset=["score"])
    assert len(merged) >= 4
    pd.testing.assert_series_equal(
        merged["score"], merged["score_again"], check_names=False, rtol=1e-5, check_dtype=False
    )


def test_a_bundle_on_a_store_without_it_is_refused(tmp_path):
    store = written(tmp_path, "one.zarr", last=0, inner=None)
    with pytest.raises(SlicecacheError, match="is not there"):
        scores_of(store, MahalanobisSpec(tokens=INNER))
