"""Batches: results are free of them, memory that runs out halves them, patch means are weighted right."""

import numpy as np
import pytest
import torch

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.format.header import BackboneIdentity
from cache_schema.format.record import Entities, Geometry, Slices, SourceFile, UsedForeground, VolumeDraft
from extract.backbones.backbone import Tokens
from extract.backbones.untrained import UntrainedSpec
from extract.engines.embed import Embedder
from extract.engines.on_device import canvas_images, patch_mean, pool
from extract.slices.prepare import PreparedVolume

pytestmark = pytest.mark.numerics

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVERY = frozenset(
    {"cls", "cls_l02", "patch_mean", "patches", "foreground", "patch_intensity", "cls_attention"}
)


def draft_of(name: str, count: int) -> VolumeDraft:
    eye = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return VolumeDraft(
        participant_id=name,
        session_id="",
        volume_id="T1w",
        entities=Entities(),
        source=SourceFile(path=name, bytes=1, mtime_ns=1, sha256="0" * 64),
        geometry=Geometry(
            native_shape=(5, 7, count),
            affine=eye,
            orientation="RAS",
            spacing_mm=(1.0, 1.0, 1.0),
            oblique_degrees=0.0,
            canvas=(56, 56),
            pixel_mm=(1.0, 1.0),
            canvas_to_native=((0.0, 1.0, 0.0, 0.0), (-1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)),
            outside_field=0.0,
        ),
        slices=Slices(
            index=tuple(range(count)),
            height_mm=tuple(float(count - i) for i in range(count)),
            world_z_mm=tuple(float(i) for i in range(count)),
            n_volume=count,
            spacing_mm=1.0,
        ),
        foreground=UsedForeground(kind="stripped", millilitres=1.0),
        intensity_quantiles={},
        seconds={"read": 0.5},
    )


def prepared_of(name: str, count: int, height: int = 61, width: int = 47, empty: int = 0) -> PreparedVolume:
    """A drawn volume; the first `empty` slices have no foreground."""
    rng = np.random.default_rng(count * height)
    mask = (rng.random((count, height, width)) < 0.4).astype(np.uint8)
    mask[:, : height // 2] = 0
    mask[:empty] = 0
    weights = [np.abs(rng.random((56, n))).astype(np.float32) for n in (height, width)]
    rows, columns = (w / w.sum(axis=1, keepdims=True) for w in weights)
    images = rng.random((count, height, width)).astype(np.float32)
    return PreparedVolume(draft_of(name, count), images, mask, rows, columns)


def embed(volumes, batch_size, dtype=torch.float32, names=EVERY, backbone=None):
    network = backbone or UntrainedSpec().build(56, CPU, dtype, layers=(2,), attention=True)
    embedder = Embedder(network, CPU, names, batch_size, MEAN, STD)
    done = [finished for volume in volumes for finished in embedder.add(volume)]
    done += embedder.flush()
    return {draft.participant_id: (draft, arrays, preview) for draft, arrays, preview in done}, embedder


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
