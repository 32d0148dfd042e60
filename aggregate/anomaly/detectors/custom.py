"""A detector of somebody else's: `{kind: custom, target: "package.module:Name", options: {...}}`.

The target is a class (or a function that makes one) with two methods, `update(batch)`, which is shown the
normal slices batch by batch, and `score(batch)`, which gives `(slice, row, col)`; and with a state, so that
a fit survives a kill and goes into a bundle. A `torch.nn.Module` has one in its buffers and parameters:

    class FarFromMean(torch.nn.Module):
        def __init__(self, dim: int, power: float = 1.0) -> None:
            super().__init__()
            self.power = power
            self.register_buffer("total", torch.zeros(dim))
            self.register_buffer("count", torch.zeros(()))

        def update(self, batch):
            self.total += batch.patches.sum((0, 1, 2))
            self.count += batch.foreground.numel()

        def score(self, batch):
            return (batch.patches - self.total / self.count).norm(dim=3) ** self.power

It is made with its options, and with those of `dim`, `grid`, `n_slices`, `n_volumes` and `seed` that it
names. It may also have `epochs`, `batch_slices`, `smooth_pixels`, `finish()` (after every epoch),
`score_slices(batch, scores)`, and `state()` with `load_state(state)` in place of a module's. Whoever wants
to choose an epoch by held-out slices derives from `Detector`, which is built as ours are.
"""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aggregate.anomaly.detectors.base import Detector, DetectorBase, Reference, SliceBatch
from aggregate.anomaly.detectors.states import load_module, module_state
from cache_schema.common.custom import CustomSpec, resolve
from cache_schema.common.errors import ConfigError, SlicecacheError


class CustomDetectorSpec(CustomSpec, DetectorBase):
    """Somebody else's detector."""

    @property
    def called(self) -> str:
        """The name in tables: by default that of the class."""
        return self.name or self.target.rpartition(":")[2].rpartition(".")[2]

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """None: there is no target that everybody has."""
        return ()

    def build(self, seed: int) -> Detector:
        """Make the detector of one seed.

        Raises:
            ConfigError: If nobody permitted the target, it is not there, or is neither class nor function.
        """
        part = resolve(self.target, "detector")
        if not (inspect.isclass(part) or inspect.isroutine(part)):
            raise ConfigError(
                f"the detector {self.target!r} is an object, and every fit needs a fresh one; give its "
                "class, and its arguments as `options`"
            )
        if inspect.isclass(part) and issubclass(part, Detector):
            detector: Detector = part(self, seed)
        else:
            detector = CustomDetector(self, seed, part)
        detector.source = source_digest(part)
        return detector


def source_digest(part: Any) -> str | None:
    """SHA-256 of the file that a class or function stands in; None where there is none, as in a notebook.

    What that file imports is not in it.
    """
    try:
        file = inspect.getsourcefile(part)
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except (TypeError, OSError):
        return None


class CustomDetector(Detector):
    """What the engine sees of a class with `update` and `score`."""

    spec: CustomDetectorSpec

    def __init__(self, spec: CustomDetectorSpec, seed: int, make: Callable[..., Any]) -> None:
        """Hold what makes it; it is made when the reference is known."""
        super().__init__(spec, seed)
        self._make = make
        self._part: Any = None
        self._epoch = self._step = 0

    @property
    def _words(self) -> str:
        """What errors call it."""
        return f"the detector {self.spec.target!r}"

    @property
    def epochs(self) -> int:
        """Its `epochs`, 1 if it names none."""
        return int(getattr(self._part, "epochs", 1))

    def start(self, reference: Reference) -> None:
        """Make it.

        Raises:
            ConfigError: If the options do not fit it, or it lacks a method.
        """
        self._epoch = self._step = 0
        arguments = self._arguments(reference)
        with self._seeded():
            self._part = self._make(**arguments)
        for name in ("update", "score"):
            if not callable(getattr(self._part, name, None)):
                raise ConfigError(f"{self._words} has no method {name}(batch)")
        if not isinstance(self._part, torch.nn.Module) and not _has_state(self._part):
            raise ConfigError(
                f"{self._words} has no state to keep: make it a torch.nn.Module with "
                "buffers, or give it state() and load_state(state)"
            )
        self.batch_slices = int(getattr(self._part, "batch_slices", Detector.batch_slices))
        self.smooth_pixels = float(getattr(self._part, "smooth_pixels", Detector.smooth_pixels))

    def _arguments(self, reference: Reference) -> dict[str, Any]:
        """The options, and what else the signature names."""
        signature = inspect.signature(self._make)
        offered = {**asdict(reference), "seed": self.seed}
        named = {name: value for name, value in offered.items() if name in signature.parameters}
        try:
            signature.bind(**(named | self.spec.options))
        except TypeError as error:
            raise ConfigError(f"the options of {self._words} do not fit: {error}") from None
        return named | self.spec.options

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Torch's own random numbers follow from seed, epoch and step, whatever ran before."""
        words = np.random.SeedSequence([self.seed, self._epoch, self._step]).generate_state(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(words[0]))
            yield
        self._step += 1

    def observe(self, batch: SliceBatch, epoch: int) -> None:
        """Show it normal slices."""
        if epoch + 1 != self._epoch:
            self._epoch, self._step = epoch + 1, 0
        self._train(True)
        with self._seeded():
            self._part.update(batch)

    def end_epoch(self, epoch: int, held_out: float | None) -> bool:
        """Let it finish."""
        if hasattr(self._part, "finish"):
            with self._seeded():
                self._part.finish()
        return super().end_epoch(epoch, held_out)

    @torch.no_grad()
    def score(self, batch: SliceBatch) -> Float[Tensor, "slice row col"]:
        """Its scores in float32.

        Raises:
            SlicecacheError: If they are of another shape, or not finite.
        """
        self._train(False)
        return self._checked(self._part.score(batch), batch.foreground.shape, "score(batch)")

    @torch.no_grad()
    def score_slices(
        self, batch: SliceBatch, scores: Float[Tensor, "slice row col"]
    ) -> Float[Tensor, " slice"]:
        """Its own rule, or the mean of the largest 1 %."""
        if not hasattr(self._part, "score_slices"):
            return super().score_slices(batch, scores)
        self._train(False)
        found = self._part.score_slices(batch, scores)
        return self._checked(found, batch.foreground.shape[:1], "score_slices(batch, scores)")

    def _checked(self, found: Any, shape: torch.Size, what: str) -> Tensor:
        """What a method gave, if it is of this shape and finite."""
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if given != tuple(shape):
            raise SlicecacheError(
                f"{what} of {self._words} gave {given}; a tensor of {tuple(shape)} is expected"
            )
        if not torch.isfinite(found).all():
            raise SlicecacheError(f"{what} of {self._words} gave a score that is not finite")
        return found.detach().float()

    def _train(self, on: bool) -> None:
        if isinstance(self._part, torch.nn.Module):
            self._part.train(on)

    def state(self) -> dict[str, Tensor]:
        """Its state.

        Raises:
            SlicecacheError: If something in it is no tensor.
        """
        found = dict(self._part.state()) if _has_state(self._part) else module_state(self._part)
        wrong = sorted(name for name, value in found.items() if not isinstance(value, Tensor))
        if wrong:
            raise SlicecacheError(
                f"the state of {self._words} must be tensors by name, but {', '.join(wrong)} is none"
            )
        return {name: value.detach().clone() for name, value in found.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        if _has_state(self._part):
            self._part.load_state({name: value.clone() for name, value in state.items()})
        else:
            load_module(self._part, state, self._words)


def _has_state(part: Any) -> bool:
    return callable(getattr(part, "state", None)) and callable(getattr(part, "load_state", None))
