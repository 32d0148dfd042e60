"""Turned references beside the references, and zero-shot: everybody's tokens but one's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aggregate.anomaly.arithmetic.shots import Shots
from aggregate.anomaly.detectors.base import SliceBatch
from aggregate.anomaly.detectors.memory_bank import MemoryBank, MemoryBankSpec
from aggregate.anomaly.fitting.rebatch import Rebatch
from aggregate.anomaly.fitting.stream import open_stream
from aggregate.testing.slices import fitted_to, normal_slices, started
from cache_schema.common.errors import ConfigError, SlicecacheError

LENGTHS = (5, 3, 4)


def seen_otherwise(slices: SliceBatch, seed: int) -> SliceBatch:
    """Other tokens of the same slices, on fewer foreground patches."""
    generator = torch.Generator().manual_seed(seed)
    patches = slices.patches.flip(2) + 0.1 * torch.randn(slices.patches.shape, generator=generator)
    return replace(slices, patches=patches, foreground=slices.foreground.flip(2))


def with_views(slices: SliceBatch) -> SliceBatch:
    return replace(slices, views=(seen_otherwise(slices, 1), seen_otherwise(slices, 2)))


def observed(spec: MemoryBankSpec, slices: SliceBatch) -> MemoryBank:
    detector = started(spec, 0, slices)
    for piece in torch.arange(len(slices)).split(detector.batch_slices):
        detector.observe(slices.take(piece), 0)
    detector.end_epoch(0, None)
    assert isinstance(detector, MemoryBank)
    return detector


def cosine_distance(query: torch.Tensor, bank: torch.Tensor) -> np.ndarray:
    unit = [
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query.double().numpy(), bank.double().numpy())
    ]
    return 1 - (unit[0] @ unit[1].T).max(1)


def test_the_bank_holds_every_view() -> None:
    slices, queries = with_views(normal_slices(LENGTHS)), normal_slices([3], first=9)
    found = observed(MemoryBankSpec(bank="all", views=("a", "b"), min_foreground=0.2), slices)
    looks = (slices, *slices.views)
    bank = torch.cat([look.patches[look.foreground >= 0.2] for look in looks])
    assert len(found.state()["bank"]) == len(bank)
    expected = cosine_distance(queries.patches.flatten(0, 2), bank)
    np.testing.assert_allclose(found.score(queries).numpy().ravel(), expected, rtol=0, atol=2e-6)
    alone = observed(MemoryBankSpec(bank="all", min_foreground=0.2), replace(slices, views=()))
    assert (found.score(queries) <= alone.score(queries) + 1e-6).all()


def test_a_shot_is_a_slice_in_all_its_views() -> None:
    slices = with_views(normal_slices(LENGTHS))
    found = observed(MemoryBankSpec(bank="all", shots=2, views=("a", "b")), slices)
    shots = Shots(2, "slices", 0)
    everything = torch.ones(slices.foreground.shape, dtype=torch.bool)
    for piece in torch.arange(len(slices)).split(found.batch_slices):
        few = slices.take(piece)
        shots.add(few.patches, everything[piece], few.height_mm, few.volume)
    own = shots.rows()[0]
    places = {int((slices.patches.flatten(1) == one.flatten()).all(1).nonzero()) for one in own.view(2, -1)}
    looks = torch.cat([look.patches[sorted(places)].flatten(0, 2) for look in (slices, *slices.views)])
    unit = torch.nn.functional.normalize(looks, dim=1)
    assert len(found.state()["bank"]) == len(unit) == 3 * len(own)
    apart = torch.cdist(unit.double(), found.state()["bank"].double()).amin(1)
    assert float(apart.max()) < 1e-6


def test_slices_keep_their_views_on_the_way() -> None:
    slices = with_views(normal_slices(LENGTHS))
    taken = slices.take(torch.tensor([4, 0, 7]))
    assert torch.equal(taken.views[1].patches, slices.views[1].patches[[4, 0, 7]])
    rebatch = Rebatch(5)
    parts = [
        batch for start in range(0, 12, 4) for batch in rebatch.push(slices.take(slice(start, start + 4)))
    ]
    parts += rebatch.rest()
    assert [len(part) for part in parts] == [5, 5, 2]
    assert torch.equal(torch.cat([part.views[0].patches for part in parts]), slices.views[0].patches)


def test_a_stream_gives_each_slice_with_its_views(normal_store) -> None:
    def turned(arrays, place):
        arrays["patches"] *= -1

    main = normal_store(LENGTHS)
    other = normal_store(LENGTHS, name="turned.zarr", change=turned, order=[2, 0, 1])
    stream, plain = open_stream(main, views=(other, main)), open_stream(main)
    batches = list(stream.shuffled(0))
    for batch in batches:
        assert torch.equal(batch.views[0].patches, -batch.patches)
        assert torch.equal(batch.views[1].patches, batch.patches)
        assert torch.equal(batch.views[0].volume, batch.volume)
    assert sum(map(len, batches)) == sum(LENGTHS)
    digests = {each.digest for each in (stream, plain, open_stream(main, views=(other,)))}
    assert len(digests) == 3
    assert all(not batch.views for batch in plain.shuffled(0))


def test_zero_shot_compares_with_everybody_else() -> None:
    """Written out: each token's distance to the nearest one of the other volumes."""
    slices = normal_slices(LENGTHS)
    for neighbours in (1, 3):
        detector = observed(MemoryBankSpec(bank="cohort", neighbours=neighbours), slices)
        scores = detector.score(slices)
        for place, volume in enumerate(slices.volume.tolist()):
            others = slices.patches[slices.volume != volume].flatten(0, 2)
            unit = [
                v / np.linalg.norm(v, axis=1, keepdims=True)
                for v in (slices.patches[place].flatten(0, 1).double().numpy(), others.double().numpy())
            ]
            nearest = np.sort(1 - unit[0] @ unit[1].T, axis=1)[:, :neighbours].mean(1)
            np.testing.assert_allclose(scores[place].numpy().ravel(), nearest, rtol=0, atol=1e-5)
        stranger = normal_slices([2], first=20)
        whole = cosine_distance(stranger.patches.flatten(0, 2), slices.patches.flatten(0, 2))
        if neighbours == 1:
            np.testing.assert_allclose(detector.score(stranger).numpy().ravel(), whole, rtol=0, atol=1e-5)


def test_what_one_volume_alone_has_is_found_and_what_two_share_is_not() -> None:
    slices = normal_slices([4, 4, 4])
    odd = slices.patches.clone()
    odd[:, 1, 1] = torch.where((slices.volume == 0)[:, None], 5 * torch.eye(11)[0], odd[:, 1, 1])
    odd[:, 2, 3] = torch.where((slices.volume < 2)[:, None], 5 * torch.eye(11)[1], odd[:, 2, 3])
    scores = observed(MemoryBankSpec(bank="cohort"), replace(slices, patches=odd)).score(
        replace(slices, patches=odd)
    )
    first = scores[slices.volume == 0]
    assert float(first[:, 1, 1].min()) > 10 * float(first[:, 2, 3].max())


def test_heights_and_a_state_go_with_zero_shot() -> None:
    slices = normal_slices(LENGTHS)
    spec = MemoryBankSpec(bank="cohort", height_window_mm=0.5)
    detector = observed(spec, slices)
    scores = detector.score(slices)
    for place in range(len(slices)):
        others = slices.volume != slices.volume[place]
        near = others & ((slices.height_mm - slices.height_mm[place]).abs() <= 0.5)
        bank = slices.patches[near if near.any() else others].flatten(0, 2)
        expected = cosine_distance(slices.patches[place].flatten(0, 1), bank)
        np.testing.assert_allclose(scores[place].numpy().ravel(), expected, rtol=0, atol=2e-6)
    again = started(spec, 0, slices)
    again.load_state(detector.state())
    assert torch.equal(again.score(slices), scores)
    with pytest.raises(SlicecacheError, match="differs in volume"):
        again.load_state({name: value for name, value in detector.state().items() if name != "volume"})


def test_what_has_no_reference_is_refused_one() -> None:
    with pytest.raises(SlicecacheError, match="compares volumes with each other, and has one"):
        fitted_to(MemoryBankSpec(bank="cohort"), 0, normal_slices([4]), normal_slices([2], first=9))
    for given, message in (
        ({"bank": "cohort", "shots": 2}, "cohort has no reference"),
        ({"bank": "batch", "views": ("a",)}, "no reference to turn"),
    ):
        with pytest.raises(ValueError, match=message):
            MemoryBankSpec.model_validate(given)
    one, three = (MemoryBankSpec(bank="all", limit_gib=2e-5, views=views) for views in ((), ("a", "b")))
    started(one, 0, normal_slices(LENGTHS))
    with pytest.raises(ConfigError, match="more than limit_gib"):
        started(three, 0, normal_slices(LENGTHS))
