"""Slices that are equal are embedded once, and nothing that is stored can tell."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_slices import CPU, embed, prepared_of

from extract.backbones.untrained import UntrainedSpec
from extract.engines.in_hand import confirmed
from extract.engines.on_device import canvas_images, foreground_share
from extract.slices.images import first_equal

pytestmark = pytest.mark.numerics


def with_repeats(name: str):
    """Eleven slices: air at both ends, one stored twice, one with another foreground, one a voxel apart."""
    drawn = prepared_of(name, 11)
    images, mask = drawn.images.copy(), drawn.mask.copy()
    for place in (0, 1, 9, 10):
        images[place], mask[place] = 0.0, 0
    images[4], mask[4] = images[3], mask[3]
    images[6] = images[3]
    images[7], mask[7] = images[3], mask[3]
    images[7, 5, 7] += 0.5
    return replace(drawn, images=images, mask=mask, firsts=first_equal(images, mask))


def test_equal_slices_are_found_bit_for_bit():
    volume = with_repeats("a")
    assert volume.firsts.tolist() == [0, 0, 2, 3, 3, 5, 6, 7, 8, 0, 0]
    assert first_equal(volume.images[2:4], volume.mask[2:4]) is None
    zeros = np.zeros((2, 40, 40), np.float32)
    zeros[1, 3, 3] = -0.0
    assert first_equal(zeros, np.zeros((2, 40, 40), np.uint8)) is None
    backwards = volume.images[::-1, ::-1]
    assert first_equal(backwards, volume.mask[::-1, ::-1]).tolist() == [0, 0, 2, 3, 4, 5, 6, 6, 8, 0, 0]


@pytest.mark.parametrize(("size", "dtype"), [("tiny", torch.float32), ("small", torch.bfloat16)])
def test_embedding_each_once_gives_the_bits_of_embedding_all(size, dtype):
    backbone = UntrainedSpec(size=size).build(56, CPU, dtype, layers=(2,), attention=True)
    volumes = [prepared_of("a", 5), with_repeats("b"), prepared_of("c", 3)]
    all_of_them = [replace(volume, firsts=None) for volume in volumes]
    once, embedder = embed(volumes, 8, backbone=backbone)
    every, plain = embed(all_of_them, 8, backbone=backbone)
    # Air is equal on the canvas, too; slice 4 is where resampling rounds its product as that of slice 3.
    assert embedder.repeated in (3, 4)
    assert embedder.slices == 19 - embedder.repeated
    assert (plain.slices, plain.repeated) == (19, 0)
    for name, (draft, arrays, preview) in every.items():
        assert once[name][0].empty_patch_slices == draft.empty_patch_slices
        assert once[name][2] == preview
        assert once[name][1].keys() == arrays.keys()
        for array, values in arrays.items():
            assert once[name][1][array].tobytes() == values.tobytes(), array


def test_what_resampling_tells_apart_is_embedded_twice():
    volume = with_repeats("a")
    grey, share = canvas_images(volume, CPU), foreground_share(volume, (4, 4), CPU)
    grey[4], share[4] = grey[3], share[3]
    assert confirmed(volume.firsts, grey, share).tolist() == volume.firsts.tolist()
    grey[9, 3, 3] = torch.nextafter(grey[9, 3, 3], torch.tensor(1.0))
    share[4, 0, 0] += 0.25
    assert confirmed(volume.firsts, grey, share).tolist() == [0, 0, 2, 3, 4, 5, 6, 7, 8, 9, 0]
