"""One read for several detectors: pieces of a stream put together to batches of another size."""

from collections.abc import Iterator

import torch

from aggregate.anomaly.detectors.base import SliceBatch


class Rebatch:
    """Gathers slices until there are enough for a batch; what it gives does not depend on the pieces."""

    def __init__(self, size: int) -> None:
        """Hold how many slices a batch has."""
        self.size = size
        self._pieces: list[SliceBatch] = []
        self._held = 0

    def push(self, piece: SliceBatch) -> Iterator[SliceBatch]:
        """Take in slices; the batches that are now full."""
        while len(piece):
            room = self.size - self._held
            self._pieces.append(piece if len(piece) <= room else piece.take(slice(room)))
            self._held += min(room, len(piece))
            piece = piece.take(slice(room, None))
            if self._held == self.size:
                yield from self.rest()

    def rest(self) -> Iterator[SliceBatch]:
        """The slices that are left, as one smaller batch, if there are any."""
        pieces, self._pieces, self._held = self._pieces, [], 0
        if pieces:
            yield join(pieces)


def join(pieces: list[SliceBatch]) -> SliceBatch:
    """Batches behind one another."""
    if len(pieces) == 1:
        return pieces[0]
    names = ("patches", "foreground", "intensity", "cls", "height_mm", "volume")
    layers = {name: torch.cat([piece.layers[name] for piece in pieces]) for name in pieces[0].layers}
    views = tuple(join(list(same)) for same in zip(*(piece.views for piece in pieces), strict=True))
    arrays = (torch.cat([getattr(piece, name) for piece in pieces]) for name in names)
    return SliceBatch(*arrays, layers=layers, views=views)
