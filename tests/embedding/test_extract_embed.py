"""Batches: results are free of them, memory that runs out halves them, patch means are weighted right."""

import threading

import numpy as np
import pytest
import torch
from made_up_slices import CPU, EVERY, MEAN, STD, draft_of, embed, prepared_of

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.format.header import BackboneIdentity
from extract.backbones.backbone import Backbone, Tokens
from extract.backbones.untrained import UntrainedSpec
from extract.engines.on_device import canvas_images, patch_mean, pool
from extract.slices.prepare import PreparedVolume

pytestmark = pytest.mark.numerics


@pytest.mark.parametrize(
    ("size", "dtype"), [("tiny", torch.float32), ("tiny", torch.bfloat16), ("small", torch.float32)]
)
def test_results_are_bit_equal_for_any_batch_and_neighbours(size, dtype):
    """The law behind the content digest: a slice has the same bits wherever it stands in a batch.

    Batched products round in groups of 2 or 4; 4 heads (tiny) hide what 6 (small) show.
    """
    backbone = UntrainedSpec(size=size).build(56, CPU, dtype, layers=(2,), attention=True)
    volumes = [prepared_of("a", 5), prepared_of("b", 1, 40, 73), prepared_of("c", 11), prepared_of("d", 7)]
    reference, _ = embed(volumes, 64, backbone=backbone)
    for batch_size, order in [(1, [0, 1, 2, 3]), (3, [3, 1, 0, 2]), (7, [2, 0]), (13, [1, 3, 2, 0])]:
        found, embedder = embed([volumes[i] for i in order], batch_size, backbone=backbone)
        assert embedder.slices == sum(len(volumes[i].images) for i in order)
        for name, finished in found.items():
            assert finished[1].keys() == EVERY
            for array, values in finished[1].items():
                assert np.array_equal(values, reference[name][1][array]), (array, batch_size)
            assert finished[2] == reference[name][2]


def test_volumes_equal_the_written_out_path():
    volume = prepared_of("a", 3)
    found, _ = embed([volume], 2)
    network = UntrainedSpec().build(56, CPU, torch.float32, layers=(2,), attention=True)
    for index in range(3):
        grey = volume.row_weights @ volume.images[index] @ volume.column_weights.T
        pixels = np.stack([(grey - m) / s for m, s in zip(MEAN, STD, strict=True)])
        tokens = network(torch.from_numpy(pixels[None]).float())
        assert np.allclose(found["a"][1]["cls"][index], tokens.cls["cls"][0], atol=1e-4)
        share = (volume.row_weights @ volume.mask[index] @ volume.column_weights.T).reshape(4, 14, 4, 14)
        share = share.mean(axis=(1, 3))
        assert np.allclose(found["a"][1]["foreground"][index], share, atol=1e-6)
        total = np.zeros(128)
        for row in range(4):
            for col in range(4):
                total += share[row, col] * tokens.patches[0, row, col].numpy()
        assert np.allclose(found["a"][1]["patch_mean"][index], total / share.sum(), atol=1e-4)
        intensity = grey.reshape(4, 14, 4, 14).mean(axis=(1, 3))
        assert np.allclose(found["a"][1]["patch_intensity"][index], intensity, atol=1e-6)


def test_only_the_arrays_of_the_store_are_given():
    found, _ = embed([prepared_of("a", 2)], 8, names=frozenset({"cls", "patch_mean"}))
    assert found["a"][1].keys() == {"cls", "patch_mean"}
    assert found["a"][0].seconds.keys() == {"read", "embed"}


def test_slices_without_foreground_patches_take_all_and_are_counted():
    found, _ = embed([prepared_of("a", 6, empty=2)], 4)
    assert found["a"][0].empty_patch_slices == 2
    arrays = found["a"][1]
    assert np.allclose(arrays["patch_mean"][0], arrays["patches"][0].mean(axis=(0, 1)), atol=1e-5)
    assert not np.allclose(arrays["patch_mean"][3], arrays["patches"][3].mean(axis=(0, 1)), atol=1e-3)


def test_patch_mean_of_one_patch_is_that_patch():
    patches = torch.randn(2, 3, 5, 7)
    share = torch.zeros(2, 3, 5)
    share[0, 1, 4] = 1e-6
    share[1] = 0.3
    found = patch_mean(patches, share)
    assert torch.allclose(found[0], patches[0, 1, 4], atol=1e-6)
    assert torch.allclose(found[1], patches[1].mean(dim=(0, 1)), atol=1e-6)


def test_images_on_the_canvas_already_pass_through():
    grey = np.random.default_rng(0).integers(0, 256, (3, 56, 56), dtype=np.uint8)
    volume = PreparedVolume(draft_of("a", 3), grey, np.ones_like(grey), None, None)
    assert np.array_equal(canvas_images(volume, CPU).numpy(), grey.astype(np.float32) / 255)
    assert torch.equal(
        pool(torch.arange(16.0).view(1, 4, 4), (2, 2)), torch.tensor([[[2.5, 4.5], [10.5, 12.5]]])
    )


class Small:
    """A backbone whose memory holds a few slices only."""

    identity = BackboneIdentity(architecture={}, weights_sha256="0" * 64, position_table="native")
    dim, heads, grid, largest_token = 3, 1, (4, 4), 1.0
    offers, normalised = frozenset({"cls"}), None

    def __init__(self, room: int) -> None:
        self.room = room
        self.seen: list[int] = []

    def __call__(self, pixels):
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(len(pixels))
        return Tokens({"cls": pixels.mean(dim=(2, 3))}, torch.zeros(len(pixels), 4, 4, 3))


def test_out_of_memory_halves_the_batch_and_goes_on():
    volumes = [prepared_of("a", 9), prepared_of("b", 14)]
    expected, _ = embed(volumes, 4, names=frozenset({"cls"}), backbone=Small(100))
    small = Small(3)
    found, embedder = embed(volumes, 16, names=frozenset({"cls"}), backbone=small)
    assert embedder.batch_size == 2
    assert sum(small.seen) == 24  # 23 and one that fills up the last
    assert set(small.seen) == {2}
    assert len(embedder.notes) == 2
    for name in ("a", "b"):
        np.testing.assert_allclose(found[name][1]["cls"], expected[name][1]["cls"], rtol=0, atol=1e-6)


def test_a_slice_that_does_not_fit_is_said_in_a_sentence():
    with pytest.raises(ConfigError, match="single slice"):
        embed([prepared_of("a", 3)], 4, names=frozenset({"cls"}), backbone=Small(0))


def test_other_errors_are_not_taken_for_memory():
    class Broken(Small):
        def __call__(self, pixels):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        embed([prepared_of("a", 3)], 4, names=frozenset({"cls"}), backbone=Broken(9))


def test_a_volume_without_slices_is_a_failure():
    with pytest.raises(VolumeError, match="no slice"):
        embed([prepared_of("a", 0)], 4)


class TwoAtOnce:
    """A backbone that makes no pass until two of them have been sent."""

    at_once = 2

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.both, self.one = backbone, threading.Barrier(2), threading.Lock()

    def __getattr__(self, name: str):
        return getattr(self.backbone, name)

    def __call__(self, pixels: torch.Tensor) -> Tokens:
        self.both.wait(60)
        with self.one:
            return self.backbone(pixels)


def test_batches_that_run_at_a_time_come_back_in_order():
    backbone = UntrainedSpec().build(56, CPU, torch.float32, layers=(2,), attention=True)
    volumes = [prepared_of("a", 11), prepared_of("b", 3), prepared_of("c", 18)]  # four batches of eight
    expected, _ = embed(volumes, 8, backbone=backbone)
    found, embedder = embed(volumes, 8, backbone=TwoAtOnce(backbone))
    assert list(found) == ["a", "b", "c"]
    assert embedder.slices == 32
    for name, (draft, arrays, picture) in found.items():
        assert picture == expected[name][2]
        assert draft.seconds.keys() == expected[name][0].seconds.keys()
        for each in EVERY:
            np.testing.assert_array_equal(arrays[each], expected[name][1][each])
