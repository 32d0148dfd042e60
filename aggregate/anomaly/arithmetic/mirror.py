"""The other side of the head: what lies about the mirrored place of every patch of an axial slice."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d


@dataclass(frozen=True, slots=True)
class OtherSide:
    """Of every patch."""

    mean: Float[Tensor, "slice row col feature"]
    """Over the patches about the mirrored one."""
    there: Bool[Tensor, "slice row col"]
    """Whether there are any."""


def midline(foreground: Float[Tensor, "slice row col"]) -> Int[Tensor, " slice"]:
    """Twice the column about which each slice is mirrored: the foreground's centre, to half a patch.

    A slice without foreground is mirrored about its middle.
    """
    n = foreground.shape[2]
    weight = foreground.double().sum(1)
    total = weight.sum(1)
    centre = weight @ torch.arange(n, dtype=torch.float64) / total.clamp_min(1e-12)
    return torch.where(total > 0, 2 * centre, float(n - 1)).round().long()


def other_side(
    values: Float[Tensor, "slice row col feature"], twice: Int[Tensor, " slice"], reach: int
) -> OtherSide:
    """The mean over the patches at most `reach` rows and columns from the mirrored one, itself left out.

    Args:
        values: Of every patch.
        twice: Of `midline`.
        reach: In patches, at least 1, so that a patch on the midline has somebody to be compared with.
    """
    columns = torch.arange(values.shape[2])
    partner = twice[:, None] - columns
    inside = (partner >= 0) & (partner < len(columns))
    index = partner.clamp(0, len(columns) - 1)[:, None, :, None].expand_as(values)
    flipped = values.gather(2, index) * inside[:, None, :, None]
    counted = inside[:, None, :, None].expand(*values.shape[:3], 1).to(values)
    total, count = _window(flipped, reach), _window(counted, reach)
    # Near the midline the window holds the patch itself.
    own = ((partner - columns).abs() <= reach)[:, None, :, None].to(values)
    total, count = total - own * values, count - own
    return OtherSide(total / count.clamp_min(1), count[..., 0] > 0.5)


def _window(values: Float[Tensor, "slice row col feature"], reach: int) -> Tensor:
    """Sums over `2 reach + 1` rows and columns."""
    size = 2 * reach + 1
    by_feature = values.permute(0, 3, 1, 2)
    return avg_pool2d(by_feature, size, stride=1, padding=reach, divisor_override=1).permute(0, 2, 3, 1)
