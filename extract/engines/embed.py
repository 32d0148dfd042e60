"""From prepared volumes to tokens: resample on the device, batch across volumes, collect per volume.

Slices of neighbouring volumes share batches, so that no batch is small. What a slice becomes depends on
that slice alone: resampling runs volume by volume, and every forward pass has the same shape, the last one
being filled up, so that neither neighbours nor a resumed run change a bit.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.format.record import VolumeDraft
from extract.backbones.backbone import Backbone, Tokens
from extract.engines.on_device import canvas_images, foreground_share, patch_mean, pool
from extract.slices.prepare import PreparedVolume
from extract.slices.preview import mosaic

CPU_BLOCK = 8
"""Slices of every forward pass on a CPU, whatever `batch_size` says: the fastest there, and products of
one shape give one slice the same bits wherever it stands, which products of several shapes do not
(measured with bfloat16 on AMX), so that the content digest does not depend on the batch."""


CommitParts = tuple[VolumeDraft, dict[str, NDArray[np.float32]], bytes]
"""What a store commits of a volume: its draft, its arrays by name `(slice, ...)`, and its preview, a PNG."""


@dataclass(slots=True)
class _Open:
    """A volume that is being embedded."""

    draft: VolumeDraft
    grey: Tensor
    """Grey values `(slice, height, width)` on the canvas."""
    share: Tensor
    """`(slice, row, col)`: share of the patch inside the foreground."""
    span: tuple[float, float]
    """Grey values that the preview shows as black and as white."""
    sent: int = 0
    parts: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    arrived: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch on its way back from the device."""

    pieces: list[tuple[_Open, int]]
    """Volumes in the batch with their number of slices, in order."""
    host: dict[str, Tensor]
    done: "torch.cuda.Event | None"
    """Passed when the device is done with it; None where it is when it is sent."""
    seconds: float
    """Until the batch was sent; waiting for the next volume does not count as embedding."""


class Embedder:
    """Takes prepared volumes one by one and gives finished ones back as their last slice arrives."""

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        names: frozenset[str],
        batch_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        """Hold the backbone; `names` are the arrays that the store keeps."""
        self.backbone, self.device, self.names = backbone, device, names
        self.batch_size = CPU_BLOCK if device.type == "cpu" else batch_size
        self.slices = 0
        """Slices embedded so far."""
        self.notes: list[str] = []
        """What was changed on the way, e.g. a halved batch."""
        self._mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, -1, 1, 1)
        self._open: deque[_Open] = deque()
        self._flight: _Flight | None = None

    def add(self, prepared: PreparedVolume) -> Iterator[CommitParts]:
        """Take one volume; run every batch that is full now.

        Raises:
            VolumeError: If it has no slices.
            ConfigError: If a single slice does not fit the device's memory.
        """
        self._open.append(self._place(prepared))
        yield from self._drain(self.batch_size)

    def flush(self) -> Iterator[CommitParts]:
        """Run what is left."""
        yield from self._drain(1)
        yield from self._land()

    def idle(self, waited: float) -> float:
        """Of the seconds just waited for a volume, those in which the device had nothing to do."""
        done = None if self._flight is None else self._flight.done
        if done is None:
            return waited
        if not done.query():
            return 0.0
        now = torch.cuda.Event(enable_timing=True)
        now.record()
        now.synchronize()
        return min(waited, done.elapsed_time(now) / 1000)

    def _place(self, prepared: PreparedVolume) -> _Open:
        if not len(prepared.images):
            raise VolumeError("no slice of this volume is kept by the slice rule")
        start = time.perf_counter()
        grey = canvas_images(prepared, self.device)
        share = foreground_share(prepared, self.backbone.grid, self.device)
        opened = _Open(prepared.draft, grey, share, prepared.span)
        opened.seconds = time.perf_counter() - start
        return opened

    def _waiting(self) -> int:
        return sum(len(volume.grey) - volume.sent for volume in self._open)

    def _drain(self, least: int) -> Iterator[CommitParts]:
        """Send batches while at least `least` slices wait."""
        while (waiting := self._waiting()) >= least and waiting:
            flight = self._launch(self._take(min(self.batch_size, waiting)))
            # The batch before this one is collected while this one computes.
            yield from self._land()
            self._flight = flight

    def _take(self, count: int) -> list[tuple[_Open, int, int]]:
        """The next `count` slices: volume, start, stop."""
        pieces: list[tuple[_Open, int, int]] = []
        for volume in self._open:
            stop = min(len(volume.grey), volume.sent + count)
            if stop > volume.sent:
                pieces.append((volume, volume.sent, stop))
                count -= stop - volume.sent
                volume.sent = stop
            if not count:
                break
        return pieces

    def _launch(self, pieces: list[tuple[_Open, int, int]]) -> _Flight:
        started = time.perf_counter()
        grey = torch.cat([volume.grey[a:b] for volume, a, b in pieces])
        share = torch.cat([volume.share[a:b] for volume, a, b in pieces])
        found = self._run(grey, share)
        self.slices += len(grey)
        cuda = self.device.type == "cuda"
        host = {name: value.to("cpu", non_blocking=cuda) for name, value in found.items()}
        done = torch.cuda.Event(enable_timing=True) if cuda else None
        if done is not None:
            done.record()
        return _Flight(
            [(volume, b - a) for volume, a, b in pieces], host, done, time.perf_counter() - started
        )

    def _run(self, grey: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Embed one batch; when memory runs out, go on in halves from here on."""
        while True:
            try:
                pairs = zip(grey.split(self.batch_size), share.split(self.batch_size), strict=True)
                parts = [self._arrays(a, b) for a, b in pairs]
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the handler, so that the traceback no longer holds the tensors that filled the memory.
            self._halve()

    def _halve(self) -> None:
        if self.batch_size == 1:
            raise ConfigError(
                "the device has too little memory for a single slice: take a smaller backbone or canvas, "
                "or extract.device: cpu"
            )
        self.batch_size //= 2
        self.notes.append(f"out of memory: the batch was halved to {self.batch_size}")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _arrays(self, grey: Tensor, share: Tensor) -> dict[str, Tensor]:
        """All arrays that the store keeps, for one batch, in float32."""
        count, spare = len(grey), self.batch_size - len(grey)
        with torch.inference_mode():
            grey, share = (functional.pad(part, (0, 0, 0, 0, 0, spare)) for part in (grey, share))
            pixels = (grey[:, None] - self._mean) / self._std
            every = self._named(self.backbone(pixels), grey, share)
            return {name: make()[:count] for name, make in every.items() if name in self.names}

    def _named(self, tokens: Tokens, grey: Tensor, share: Tensor) -> dict[str, Callable[[], Tensor]]:
        named: dict[str, Callable[[], Tensor]] = {
            "patch_mean": lambda: patch_mean(tokens.patches, share),
            "patches": lambda: tokens.patches,
            "foreground": lambda: share,
            "patch_intensity": lambda: pool(grey, self.backbone.grid),
        }
        named |= {name: partial(lambda value: value, value) for name, value in tokens.cls.items()}
        named |= {name: partial(lambda value: value, value) for name, value in tokens.more.items()}
        if tokens.attention is not None:
            attention = tokens.attention
            named["cls_attention"] = lambda: attention
        return named

    def _land(self) -> Iterator[CommitParts]:
        """Collect the batch in flight and give back the volumes that it completes."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        started = time.perf_counter()
        if flight.done is not None:
            flight.done.synchronize()
        seconds = flight.seconds + time.perf_counter() - started
        total, offset = sum(count for _, count in flight.pieces), 0
        for volume, count in flight.pieces:
            for name, value in flight.host.items():
                volume.parts.setdefault(name, []).append(value[offset : offset + count].numpy())
            volume.arrived += count
            volume.seconds += seconds * count / total
            offset += count
        while self._open and self._open[0].arrived == len(self._open[0].grey):
            yield _finished(self._open.popleft())


def _finished(volume: _Open) -> CommitParts:
    """Join the parts of a volume, and complete its draft."""
    arrays = {name: np.concatenate(parts) for name, parts in volume.parts.items()}
    empty = int((volume.share.sum(dim=(1, 2)) == 0).sum())
    seconds = volume.draft.seconds | {"embed": volume.seconds}
    draft = volume.draft.model_copy(update={"empty_patch_slices": empty, "seconds": seconds})
    return draft, arrays, mosaic(volume.grey.cpu().numpy(), draft, volume.span)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch said that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
