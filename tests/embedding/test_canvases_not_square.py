"""Every architecture on a canvas of three patches by five: rows are rows, and the laws hold."""

import pytest
import torch

from extract.backbones.huggingface.examples import CONFIGURATIONS, save_example
from extract.backbones.huggingface.spec import HuggingFaceSpec
from extract.testing.backbones import check_backbone

pytestmark = pytest.mark.numerics


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_canvas_need_not_be_square(tmp_path, name):
    spec = HuggingFaceSpec(path=save_example(tmp_path, name))
    patch = spec.load().patch_size
    check_backbone(spec, canvas=(3 * patch, 5 * patch))
    built = spec.build((3 * patch, 5 * patch), torch.device("cpu"), torch.float32)
    assert built.grid == (3, 5)
