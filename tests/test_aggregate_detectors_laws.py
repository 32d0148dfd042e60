"""What holds of every detector of the registry."""

from typing import get_args

import pytest
import torch

from aggregate.anomaly.detectors import spec as specs
from aggregate.anomaly.detectors.base import SliceBatch
from aggregate.anomaly.fitting.fit import fit
from aggregate.anomaly.fitting.rebatch import join
from aggregate.anomaly.fitting.stream import open_stream
from cache_schema.common.errors import SlicecacheError

KINDS = get_args(get_args(specs.DetectorSpec)[0])
SMALL = {
    "memory_bank": [
        {"size": 300},
        {"bank": "all"},
        {"bank": "kmeans", "size": 60},
        {"bank": "coreset", "size": 200, "sample": 500},
        {"size": 400, "height_window_mm": 6.0, "min_foreground": 0.1},
    ],
    "patchcore": [{"size": 200, "sample": 500}],
    "mahalanobis": [
        {},
        {"per": "pooled"},
        {"per": "position", "covariance": "each", "dims": 4},
        {"per": "pooled", "dims": 7, "shrinkage": 0.2},
    ],
    "dpmm": [{"components": 40, "epochs": 4}, {"components": 20, "epochs": 2, "covariance": "full"}],
    "spatial_ar": [{"epochs": 10, "learning_rate": 3e-3}],
    "dino_ad": [{}, {"supports": 3, "height_window_mm": 5.0, "slices": 20}],
}
"""Settings that fit a small store, by kind; by default the spec's own."""
ALL = [kind(**settings) for kind in KINDS for settings in SMALL.get(kind.model_fields["kind"].default, [{}])]
NOISE = 0.2
"""Standard deviation of tokens of one place in `normal_arrays`."""
BLIND = ("position", "intensity")
"""Baselines, which see no tokens."""
TRAINED = ("spatial_ar",)
"""Networks: even equal tokens must be learned, and rounded tokens train another model."""
every_detector = pytest.mark.parametrize(
    "spec", ALL, ids=lambda spec: spec.model_dump_json(exclude_defaults=True)
)


@pytest.fixture
def reference(normal_store):
    return open_stream(normal_store([9, 7, 11, 4, 9, 8]), seed=1)


@pytest.fixture
def queries(normal_store):
    stream = open_stream(normal_store([9, 5], name="queries.zarr", first=50))
    return join([batch for _, batch in stream.in_order(64)])


def fitted(spec, stream, seed=0):
    detector = spec.build(seed)
    fit([detector], stream, stream)
    return detector


@every_detector
def test_scores_have_a_shape_and_are_finite(spec, reference, queries):
    detector = fitted(spec, reference)
    scores = detector.score(queries)
    assert scores.shape == queries.foreground.shape
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    by_slice = detector.score_slices(queries, scores)
    assert by_slice.shape == (len(queries),)
    assert torch.isfinite(by_slice).all()
    assert detector.batch_slices >= 1


@pytest.mark.numerics
@every_detector
def test_a_state_gives_the_same_scores(spec, reference, queries):
    detector = fitted(spec, reference)
    state = {name: value.clone() for name, value in detector.state().items()}
    other = spec.build(0)
    other.start(reference.reference)
    other.load_state(state)
    # Bits: a run killed while it scores goes on from the state, and must leave the same files.
    assert torch.equal(detector.score(queries), other.score(queries))
    assert state.keys() == other.state().keys()
    assert all(torch.equal(value, other.state()[name]) for name, value in state.items())


@every_detector
def test_a_state_of_another_shape_is_refused(spec, reference):
    detector = fitted(spec, reference)
    state = dict(detector.state())
    name = sorted(state)[0]
    detector.start(reference.reference)
    with pytest.raises(SlicecacheError, match=name):
        detector.load_state({**state, name: torch.zeros(2, 3, 5, 7, 2)})
    with pytest.raises(SlicecacheError, match=name):
        detector.load_state({key: value for key, value in state.items() if key != name})


@pytest.mark.numerics
@every_detector
def test_scores_do_not_depend_on_the_batch(spec, reference, queries):
    detector = fitted(spec, reference)
    whole = detector.score(queries)
    order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(detector.score(queries.take(order)), whole[order], rtol=1e-4, atol=1e-5)
    for start in range(0, len(queries), 5):
        part = slice(start, start + 5)
        torch.testing.assert_close(detector.score(queries.take(part)), whole[part], rtol=1e-4, atol=1e-5)


@pytest.mark.numerics
@every_detector
def test_the_same_seed_makes_the_same_model(spec, reference):
    first, second = fitted(spec, reference, seed=5), fitted(spec, reference, seed=5)
    # Bits, on one machine: a fit that was killed and starts anew must end at the same model.
    for name, value in first.state().items():
        assert torch.equal(value, second.state()[name]), name


@every_detector
def test_odd_tokens_score_higher(spec, reference, queries):
    if spec.kind in BLIND:
        pytest.skip("a baseline sees no tokens")
    detector = fitted(spec, reference)
    odd = planted(queries)
    inside = queries.foreground[:, 1:, 2:4] > 0
    scores = detector.score(odd)
    there = scores[:, 1:, 2:4][inside]
    away = scores[:, :, :2][queries.foreground[:, :, :2] > 0]
    assert there.mean() > 1.3 * away.mean()
    assert (there > away.quantile(0.9)).float().mean() > 0.7
    # And the slices that hold them.
    before = detector.score_slices(queries, detector.score(queries))
    assert (detector.score_slices(odd, scores) > before).float().mean() > 0.8


def planted(batch: SliceBatch) -> SliceBatch:
    """Tokens of no normal slice in a block of patches."""
    patches = batch.patches.clone()
    noise = torch.randn(patches[:, 1:, 2:4].shape, generator=torch.Generator().manual_seed(1))
    patches[:, 1:, 2:4] = 2.0 * noise
    fields = (batch.foreground, batch.intensity, batch.cls, batch.height_mm, batch.volume)
    return SliceBatch(patches, *fields)


@pytest.mark.numerics
@every_detector
def test_equal_tokens_give_finite_scores(spec, normal_store):
    def equal(arrays, place):
        for name in ("patches", "cls", "patch_intensity"):
            arrays[name][:] = 0.5

    stream = open_stream(normal_store([9, 7], change=equal))
    other = open_stream(normal_store([5], name="q.zarr", first=9, change=equal))
    detector = fitted(spec, stream)
    batch = join([batch for _, batch in other.in_order(64)])
    scores = detector.score(batch)
    assert torch.isfinite(scores).all()
    if spec.kind not in BLIND + TRAINED:
        assert scores.abs().max() < 1e-3


@every_detector
def test_one_slice_is_enough_or_refused(spec, normal_store, queries):
    stream = open_stream(normal_store([1]))
    try:
        detector = fitted(spec, stream)
    except SlicecacheError as refusal:
        assert "reference slices" in str(refusal)  # noqa: PT017
        return
    assert torch.isfinite(detector.score(queries)).all()


@pytest.mark.numerics
@every_detector
def test_half_and_single_precision_stores_agree(spec, normal_store):
    maps, detector = [], None
    for storage in ("float16", "float32"):
        stream = open_stream(normal_store([9, 7, 6], name=f"{storage}.zarr", storage=storage))
        other = open_stream(normal_store([5], name=f"q{storage}.zarr", first=9, storage=storage))
        batch = join([batch for _, batch in other.in_order(64)])
        if detector is None or spec.kind not in TRAINED:
            detector = fitted(spec, stream)
        maps.append(detector.score(batch))
    # Cosines are of tokens of length 1; other scores have the tokens' unit, its square, or that of
    # their noise.
    length = float(batch.patches.norm(dim=3).max())
    square = float(batch.patches.square().mean(3).max())
    units = {"patchcore": length, "mahalanobis": length / NOISE, "spatial_ar": square}
    unit = units.get(spec.kind, 1.0)
    assert (maps[0] - maps[1]).abs().max() < 5e-4 * unit


@every_detector
def test_a_spec_survives_yaml(spec):
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec
