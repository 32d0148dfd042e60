"""`auto`: engines and dtypes tried on the device that embeds, and the fastest that is exact enough taken."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cache_schema.common.errors import SlicecacheError
from extract.arithmetic.arithmetic import REFERENCE, Arithmetic
from extract.arithmetic.processor import processor_kind
from extract.backbones.backbone import Backbone, Tokens, passes_at_once

SECONDS = 1.0
"""For which those that are left take turns."""
TIE = 0.9
"""Of the best rate: from here on the order of preference decides."""
HOPELESS = 3.0
"""Times the time of the fastest so far, after which nothing more is tried."""
BEATEN = (1.8, 1.3)
"""Times the time of the fastest, after which one takes no turn: after its first pass, which makes ready, and
after a turn. Both lie well beyond a tie."""
LEAST_COSINE = 0.9999
"""In bfloat16, of every slice's CLS token and mean patch token with those of float32 in torch."""
LARGEST_ERROR = {"float32": 1e-4, "bfloat16": 0.01}
"""Root mean square difference of CLS as a share of its spread, which is the largest difference of one
component between two of the slices that are tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was seen of one arithmetic."""

    arithmetic: Arithmetic
    slices_per_s: float = 0.0
    cosine: float = 1.0
    """Least of a slice."""
    error: float = 0.0
    """As `LARGEST_ERROR`."""
    why_not: str = ""
    """Why it cannot be taken; empty where it can."""

    def as_json(self) -> dict[str, Any]:
        """A row of the table."""
        return {
            "engine": self.arithmetic.engine,
            "compute_dtype": self.arithmetic.compute,
            "slices_per_s": round(self.slices_per_s, 2),
            "cosine": round(self.cosine, 8),
            "error": float(f"{self.error:.3g}"),
            **({"why_not": self.why_not} if self.why_not else {}),
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` took, and what it saw."""

    taken: Arithmetic
    trials: tuple[Trial, ...]
    seconds: float = 0.0
    reference_rate: float = 0.0
    """Slices a second of float32 by torch."""
    measured: str = ""
    """The day of the trial, where this is remembered of an earlier extraction."""

    def as_json(self) -> dict[str, Any]:
        """For a store's provenance."""
        if not self.trials:
            return {"why": "too little to embed for trying to be worth it"}
        return {
            "engine": self.taken.engine,
            "compute_dtype": self.taken.compute,
            "seconds": round(self.seconds, 2),
            "processor": processor_kind(),
            "trials": [trial.as_json() for trial in self.trials],
            **({"remembered": self.measured} if self.measured else {}),
        }

    def said(self) -> str:
        """In one line."""
        best = next(trial for trial in self.trials if trial.arithmetic == self.taken)
        told = [f"{trial.arithmetic} {_told(trial)}" for trial in self.trials if trial is not best]
        when = f"as measured on {self.measured}" if self.measured else f"after {self.seconds:.1f} s"
        return (
            f"auto took {self.taken} ({best.slices_per_s:.3g} slices/s, cosine {best.cosine:.6f}) {when}; "
            f"{'; '.join(told)}"
        )


def _told(trial: Trial) -> str:
    return trial.why_not or f"{trial.slices_per_s:.3g}"


def choose(
    options: Sequence[Arithmetic],
    place: Callable[[Arithmetic], Backbone],
    pixels: Tensor,
    slices: int,
    little: float,
) -> Choice:
    """Try each, and take the fastest that is exact enough.

    Args:
        options: In the order of preference.
        place: Gives a backbone of an arithmetic.
        pixels: One pass's slices, on the device.
        slices: That are to be embedded.
        little: Seconds of work by the reference below which the first option is taken untried.
    """
    began = time.perf_counter()
    reference = _Contender(REFERENCE, place(REFERENCE))
    truth = reference.run(pixels)
    if slices * reference.best < little:
        return Choice(options[0], ())
    tried = {
        each: reference if each == REFERENCE else _tried(each, place, pixels, reference, truth)
        for each in options
    }
    able = [each for each in tried.values() if not each.trial.why_not]
    _take_turns(able, pixels)
    trials = tuple(each.trial for each in tried.values())
    seconds = time.perf_counter() - began
    return Choice(preferred(trials) or options[0], trials, seconds, 1 / reference.best)


def preferred(trials: Sequence[Trial]) -> Arithmetic | None:
    """The first of those that are about as fast as the fastest; None where none can be taken."""
    able = [trial for trial in trials if not trial.why_not]
    best = max((trial.slices_per_s for trial in able), default=0.0)
    return next((trial.arithmetic for trial in able if trial.slices_per_s >= TIE * best), None)


class _Contender:
    """An arithmetic on trial."""

    def __init__(self, arithmetic: Arithmetic, backbone: Backbone | None, why_not: str = "") -> None:
        self.backbone, self.best = backbone, float("inf")
        self.trial = Trial(arithmetic, why_not=why_not)

    def run(self, pixels: Tensor) -> Tokens:
        """One pass, or as many as it makes at a time, timed until its numbers are there."""
        assert self.backbone is not None
        several = pixels.repeat(passes_at_once(self.backbone), 1, 1, 1)
        start = time.perf_counter()
        tokens = self.backbone(several)
        tokens.patches[:1, 0, 0, 0].cpu()
        self.best = min(self.best, (time.perf_counter() - start) / len(several))
        self.trial = replace(self.trial, slices_per_s=1 / self.best)
        return tokens


def _tried(
    arithmetic: Arithmetic,
    place: Callable[[Arithmetic], Backbone],
    pixels: Tensor,
    reference: _Contender,
    truth: Tokens,
) -> _Contender:
    """Place it, and hold its numbers to the reference's."""
    try:
        made = _Contender(arithmetic, place(arithmetic))
        if arithmetic.engine == "torch":  # emulated arithmetic takes many times as long: one slice shows it
            for _ in range(2):  # the first pass of a shape makes ready
                made.run(pixels[:1])
            if made.best > HOPELESS * reference.best:
                return _Contender(arithmetic, None, "is emulated here")
            made.best = float("inf")
        found = made.run(pixels)
    except SlicecacheError as error:
        return _Contender(arithmetic, None, str(error))
    # A stranger's network, and each version of an engine, fails in a way of its own; the reference is there.
    except Exception as error:
        return _Contender(arithmetic, None, f"fails: {' '.join(str(error).split())[:120]}")
    cosine, away = cosine_and_error(truth, found)
    why = said_of_exactness(arithmetic, cosine, away)
    made.trial = replace(made.trial, cosine=cosine, error=away, why_not=why)
    if why:
        made.backbone = None
    return made


def said_of_exactness(arithmetic: Arithmetic, cosine: float, error: float) -> str:
    """Why such numbers are too far from float32 in torch; empty where they are not."""
    most = LARGEST_ERROR[arithmetic.compute]
    if arithmetic.compute == "bfloat16" and not cosine >= LEAST_COSINE:
        return f"is not exact enough: cosine {cosine:.6f}, at least {LEAST_COSINE} is wanted"
    if not error <= most:
        return f"is not exact enough: {error:.2%} of the spread, at most {most:.2%} is wanted"
    return ""


def cosine_and_error(truth: Tokens, found: Tokens) -> tuple[float, float]:
    """Least cosine of a slice, and error as a share of the spread, over CLS and the mean patch.

    Args:
        truth: The reference's.
        found: Of the same slices, which may stand in it several times over.
    """
    worst, largest = 1.0, 0.0
    for ours, several in zip(_compared(truth), _compared(found), strict=True):
        theirs = several[: len(ours)]
        # In float64: a cosine of 1 - 1e-9 is none in float32.
        cosines = torch.nn.functional.cosine_similarity(ours, theirs, dim=1)
        worst = min(worst, float(cosines.min()))
        spread = float((ours.amax(0) - ours.amin(0)).max())
        away = float((ours - theirs).square().mean().sqrt())
        largest = max(largest, away / spread if spread > 0 else away)
    return worst, largest


def _compared(tokens: Tokens) -> list[Tensor]:
    """What describes a slice by one token, in float64 `(slice, dim)`."""
    named = [tokens.cls[name] for name in sorted(tokens.cls)]
    return [values.double().cpu() for values in (*named, tokens.patches.float().mean((1, 2)))]


def _take_turns(able: Sequence[_Contender], pixels: Tensor) -> None:
    """Time those that may win by turns, so that what else the machine does meets all of them alike."""
    until = time.perf_counter() + SECONDS
    after_first, later = BEATEN
    beyond = after_first
    while True:
        fastest = min((each.best for each in able), default=0.0)
        left = [each for each in able if each.best <= beyond * fastest]
        if len(left) < 2:
            return
        for each in left:
            each.run(pixels)
        if time.perf_counter() > until:
            return
        beyond = later
