"""AnomalyDINO's foreground mask: where the first principal component of a slice's own tokens is large.

The component is large on the object or on what is behind it; the middle of the image says which: where at
most 35 % of it is kept, the other end of the component is meant. Then the mask is grown by one and closed.

As released, growing and closing go along the flat row of patches, so that a patch's neighbours are the one
before and the one after it in reading order, over the ends of rows; here they go over the grid. A slice of
which nothing is kept has an empty mask there, and is left whole here.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d

CENTRE = (0.2, 0.8)
"""Of rows and columns, cut down to whole numbers."""
KEPT = 0.35
"""Share of the middle that the component keeps at most where its other end is meant."""


def first_component(tokens: Float[Tensor, "slice patch dim"]) -> Float[Tensor, "slice patch"]:
    """Of the centred tokens of each slice; the largest of its loadings is positive."""
    own = tokens.double()
    own = own - own.mean(1, keepdim=True)
    # eigh sorts its values, the largest last.
    direction = torch.linalg.eigh(own.transpose(1, 2) @ own).eigenvectors[:, :, -1]
    largest = direction.abs().argmax(1, keepdim=True)
    direction = direction * direction.gather(1, largest).sign()
    return (own @ direction.unsqueeze(2)).squeeze(2)


def pca_mask(
    patches: Float[Tensor, "slice row col dim"], threshold: float, as_released: bool = False
) -> Bool[Tensor, "slice row col"]:
    """Which patches are of the object.

    Args:
        patches: Tokens as they are.
        threshold: Of the component, in the tokens' own unit; 10 as released.
        as_released: Along the flat row of patches, and empty where nothing is found.
    """
    rows, cols = patches.shape[1:3]
    component = first_component(patches.flatten(1, 2)).unflatten(1, (rows, cols))
    middle = tuple(slice(int(CENTRE[0] * n), int(CENTRE[1] * n)) for n in (rows, cols))
    mask = component > threshold
    inside = mask[:, middle[0], middle[1]].flatten(1).double()
    other = (inside.mean(1) <= KEPT) if inside.shape[1] else torch.zeros(len(mask), dtype=torch.bool)
    mask = torch.where(other[:, None, None], -component > threshold, mask)
    grown = _grow(_grow(mask, as_released), as_released)
    closed = ~_grow(~grown, as_released)
    return closed if as_released else torch.where(closed.flatten(1).any(1)[:, None, None], closed, True)


def _grow(mask: Bool[Tensor, "slice row col"], flat: bool) -> Bool[Tensor, "slice row col"]:
    """Every patch that has a neighbour in the mask; outside there is none."""
    if flat:
        return max_pool1d(mask.flatten(1).float().unsqueeze(1), 3, 1, 1).squeeze(1).view(mask.shape) > 0
    return max_pool2d(mask.float().unsqueeze(1), 3, 1, 1).squeeze(1) > 0
