"""From prepared volumes to tokens: resample on the device, batch across volumes, collect per volume.

Slices of neighbouring volumes share batches, so that no batch is small. What a slice becomes depends on
that slice alone: resampling runs volume by volume, and every forward pass has the same shape, the last one
being filled up, so that neither neighbours nor a resumed run change a bit. Where a backbone makes several
passes at a time, as many batches are under way, each in a thread of its own: whoever decodes takes a core
from one of them, and the others go on.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from cache_schema.common.errors import ConfigError, VolumeError
from extract.arithmetic.processor import processor_kind
from extract.backbones.backbone import Backbone, Tokens, passes_at_once
from extract.engines.device import device_name, is_asynchronous
from extract.engines.in_hand import CommitParts, VolumeInHand
from extract.engines.on_device import patch_mean, pool
from extract.slices.prepare import PreparedVolume

CPU_BLOCK = 8
"""Slices of every forward pass on a CPU, whatever `batch_size` says: the fastest there, and products of
one shape give one slice the same bits wherever it stands, which products of several shapes do not
(measured with bfloat16 on AMX), so that the content digest does not depend on the batch."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch on its way back from the device."""

    host: dict[str, Tensor]
    done: "torch.cuda.Event | None"
    """Passed when the device is done with it; None where it is when it is sent."""
    seconds: float
    """Until the batch was sent; waiting for the next volume does not count as embedding."""
    ended: float
    """When that was."""


Pieces = list[tuple[VolumeInHand, int]]
"""Volumes in a batch with their number of slices, in order."""


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
        self.repeated = 0
        """Slices that were not, since another of their volume is equal to them."""
        self.notes: list[str] = []
        """What was changed on the way, e.g. a halved batch."""
        self._mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, -1, 1, 1)
        self._processor = processor_kind() if device.type == "cpu" else device_name(device)
        self._open: deque[VolumeInHand] = deque()
        self._at_once = passes_at_once(backbone)
        self._pool = ThreadPoolExecutor(self._at_once, "slicecache-pass") if self._at_once > 1 else None
        self._flights: deque[tuple[Pieces, Future[_Flight]]] = deque()

    def add(self, prepared: PreparedVolume) -> Iterator[CommitParts]:
        """Take one volume; run every batch that is full now.

        Raises:
            VolumeError: If it has no slices.
            ConfigError: If a single slice does not fit the device's memory.
        """
        draft = prepared.draft.model_copy(update={"processor": self._processor})
        self._open.append(self._place(replace(prepared, draft=draft)))
        yield from self._drain(self.batch_size)

    def flush(self) -> Iterator[CommitParts]:
        """Run what is left."""
        yield from self._drain(1)
        while self._flights:
            yield from self._land()

    def idle(self, waited: float) -> float:
        """Of the seconds just waited for a volume, those in which the device had nothing to do."""
        if not self._flights:
            return waited
        _, latest = self._flights[-1]
        if not latest.done():
            return 0.0
        flight = latest.result()
        if flight.done is None:
            return min(waited, time.perf_counter() - flight.ended)
        if not flight.done.query():
            return 0.0
        now = torch.cuda.Event(enable_timing=True)
        now.record()
        now.synchronize()
        return min(waited, flight.done.elapsed_time(now) / 1000)

    def _place(self, prepared: PreparedVolume) -> VolumeInHand:
        if not len(prepared.images):
            raise VolumeError("no slice of this volume is kept by the slice rule")
        start = time.perf_counter()
        volume = VolumeInHand.of(prepared, self.backbone.grid, self.device)
        self.repeated += volume.repeated
        volume.seconds = time.perf_counter() - start
        return volume

    def _waiting(self) -> int:
        return sum(volume.waiting for volume in self._open)

    def _drain(self, least: int) -> Iterator[CommitParts]:
        """Send batches while at least `least` slices wait."""
        while (waiting := self._waiting()) >= least and waiting:
            self._flights.append(self._launch(min(self.batch_size, waiting)))
            # The batches before this one are collected while this one computes.
            while len(self._flights) > self._at_once:
                yield from self._land()

    def _launch(self, count: int) -> tuple[Pieces, "Future[_Flight]"]:
        """Send the next `count` slices."""
        pieces: Pieces = []
        taken: list[tuple[Tensor, Tensor]] = []
        missing = count
        for volume in self._open:
            taken.append(volume.take(missing))
            pieces.append((volume, len(taken[-1][0])))
            missing -= pieces[-1][1]
        grey, share = (torch.cat(parts) for parts in zip(*taken, strict=True))
        self.slices += count
        if self._pool is not None:
            return pieces, self._pool.submit(self._fly, grey, share)
        sent: Future[_Flight] = Future()
        sent.set_result(self._fly(grey, share))
        return pieces, sent

    def _fly(self, grey: Tensor, share: Tensor) -> _Flight:
        """Embed one batch, and begin to copy it back; in a thread of its own where there are several."""
        started = time.perf_counter()
        found = self._run(grey, share)
        goes_on = is_asynchronous(self.device)
        host = {name: value.to("cpu", non_blocking=goes_on) for name, value in found.items()}
        done = torch.cuda.Event(enable_timing=True) if goes_on else None
        if done is not None:
            done.record()
        ended = time.perf_counter()
        return _Flight(host, done, (ended - started) / self._at_once, ended)

    def _run(self, grey: Tensor, share: Tensor) -> dict[str, Tensor]:
        """Embed one batch; when memory runs out, go on in halves from here on."""
        while True:
            size = self.batch_size
            try:
                pairs = zip(grey.split(size), share.split(size), strict=True)
                parts = [self._arrays(a, b, size) for a, b in pairs]
                return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the handler, so that the traceback no longer holds the tensors that filled the memory.
            self._halve(size)

    def _halve(self, size: int) -> None:
        """Half of what was too much, unless another thread was faster."""
        if size == 1:
            raise ConfigError(
                "the device has too little memory for a single slice: take a smaller backbone or canvas, "
                "or extract.device: cpu"
            )
        if size == self.batch_size:
            self.batch_size //= 2
            self.notes.append(f"out of memory: the batch was halved to {self.batch_size}")
        if is_asynchronous(self.device):
            torch.cuda.empty_cache()

    def _arrays(self, grey: Tensor, share: Tensor, rows: int) -> dict[str, Tensor]:
        """All arrays that the store keeps, for one batch of at most so many rows, in float32."""
        count, spare = len(grey), rows - len(grey)
        with torch.inference_mode():
            grey, share = (functional.pad(part, (0, 0, 0, 0, 0, spare)) for part in (grey, share))
            pixels = (grey[:, None] - self._mean).div_(self._std)
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
        """Collect the batch that was sent first, and give back the volumes that it completes."""
        if not self._flights:
            return
        pieces, sent = self._flights.popleft()
        flight, started = sent.result(), time.perf_counter()
        if flight.done is not None:
            flight.done.synchronize()
        seconds = flight.seconds + time.perf_counter() - started
        total, offset = sum(count for _, count in pieces), 0
        for volume, count in pieces:
            for name, value in flight.host.items():
                volume.parts.setdefault(name, []).append(value[offset : offset + count].numpy())
            volume.arrived += count
            volume.seconds += seconds * count / total
            offset += count
        while self._open and self._open[0].complete:
            yield self._open.popleft().finished()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch said that memory ran out, on an accelerator or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
