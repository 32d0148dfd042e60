"""One volume between its slice images and its commit: what is sent to the backbone, what came back of it."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache_schema.format.record import VolumeDraft
from extract.engines.device import is_asynchronous
from extract.engines.on_device import canvas_images, foreground_share
from extract.slices.prepare import PreparedVolume
from extract.slices.preview import mosaic, spread_tiles


@dataclass(frozen=True, slots=True)
class CommitParts:
    """What a store commits of a volume."""

    draft: VolumeDraft
    arrays: dict[str, NDArray[np.float32]]
    """By name, `(slice, ...)`."""
    shown: NDArray[np.float32]
    """`(tile, height, width)`: grey values on the canvas of the slices that its picture shows."""
    span: tuple[float, float]
    """The grey values that are shown as black and as white."""

    def preview(self) -> bytes:
        """A PNG; drawn by who writes it, while the next batch is embedded."""
        return mosaic(self.shown, self.draft, self.span)


@dataclass(slots=True)
class VolumeInHand:
    """A volume that is being embedded; slices that are equal are sent once."""

    draft: VolumeDraft
    grey: Tensor
    """Grey values `(slice, height, width)` on the canvas."""
    share: Tensor
    """`(slice, row, col)`: share of the patch inside the foreground."""
    span: tuple[float, float]
    firsts: Tensor | None
    """Indices of the slices that are sent, ascending; None where all are."""
    places: NDArray[np.intp] | None
    """For each slice its place among those that are sent; None where all are."""
    shown: Tensor
    """On the host once the first batch is back."""
    empty: Tensor
    """How many slices have no foreground patch, on the host as soon."""
    sent: int = 0
    arrived: int = 0
    parts: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of(cls, prepared: PreparedVolume, grid: tuple[int, int], device: torch.device) -> "VolumeInHand":
        """Bring the slices onto the canvas, on the device."""
        grey = canvas_images(prepared, device)
        share = foreground_share(prepared, grid, device)
        firsts = None if prepared.firsts is None else confirmed(prepared.firsts, grey, share)
        sent, places = (None, None) if firsts is None else np.unique(firsts, return_inverse=True)
        todo = None if sent is None else torch.from_numpy(sent).to(device)
        shown = _to_host(grey[spread_tiles(len(grey))])
        empty = _to_host((share.sum(dim=(1, 2)) == 0).sum())
        return cls(prepared.draft, grey, share, prepared.span, todo, places, shown, empty)

    @property
    def total(self) -> int:
        """Slices that are sent."""
        return len(self.grey if self.firsts is None else self.firsts)

    @property
    def waiting(self) -> int:
        """Those that are still to be sent."""
        return self.total - self.sent

    @property
    def complete(self) -> bool:
        """Whether all have come back."""
        return self.arrived == self.total

    @property
    def repeated(self) -> int:
        """Slices that are not sent, because another one is their equal."""
        return len(self.grey) - self.total

    def take(self, most: int) -> tuple[Tensor, Tensor]:
        """The next slices to be sent, at most so many: their grey values and foreground shares."""
        some = slice(self.sent, self.sent + min(most, self.waiting))
        self.sent = some.stop
        which = some if self.firsts is None else self.firsts[some]
        return self.grey[which], self.share[which]

    def finished(self) -> CommitParts:
        """Join what came back, and complete the draft."""
        arrays = {name: np.concatenate(parts) for name, parts in self.parts.items()}
        if self.places is not None:
            arrays = {name: values[self.places] for name, values in arrays.items()}
        seconds = self.draft.seconds | {"embed": self.seconds}
        draft = self.draft.model_copy(update={"empty_patch_slices": int(self.empty), "seconds": seconds})
        return CommitParts(draft, arrays, self.shown.numpy(), self.span)


def confirmed(firsts: NDArray[np.intp], grey: Tensor, share: Tensor) -> NDArray[np.intp]:
    """Slices that are equal before they are resampled, and are so on the canvas, too, bit for bit.

    Resampling rounds by the shape of the product that a slice is part of, and the last one is smaller.
    """
    again = np.flatnonzero(firsts != np.arange(len(firsts)))
    here, first = torch.from_numpy(again), torch.from_numpy(firsts[again])
    equal = torch.ones(len(again), dtype=torch.bool, device=grey.device)
    for values in (grey, share):
        bits = values.view(torch.int32)
        equal &= (bits[here] == bits[first]).flatten(1).all(dim=1)
    return np.where(
        np.isin(np.arange(len(firsts)), again[equal.cpu().numpy()]), firsts, np.arange(len(firsts))
    )


def _to_host(values: Tensor) -> Tensor:
    """A copy that a GPU makes when it comes to it; there once an event that is recorded later has passed."""
    return values.to("cpu", non_blocking=is_asynchronous(values.device))
