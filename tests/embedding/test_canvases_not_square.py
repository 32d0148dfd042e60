"""Every architecture on a canvas of three patches by five: rows are rows, and the laws hold."""

import pytest
import torch
from saved_checkpoints import saved

from extract.backbones.huggingface.examples import CONFIGURATIONS
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.testing.backbones import check_backbone

pytestmark = pytest.mark.numerics


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_canvas_need_not_be_square(name):
    spec = HuggingFaceSpec(path=saved(name))
    patch = spec.load().patch_size
    check_backbone(spec, canvas=(3 * patch, 5 * patch))
    built = spec.build((3 * patch, 5 * patch), torch.device("cpu"), torch.float32)
    assert built.grid == (3, 5)
