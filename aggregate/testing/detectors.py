"""What must hold of every detector, ours or anybody's: `check_detector(part)`.

The laws run in the order of `DETECTOR_LAWS`; the first one that is broken is raised with its name. Each is
what the engine, a bundle or a report takes for granted.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load, save
from torch import Tensor

from aggregate.anomaly.detectors.base import Detector, DetectorBase
from aggregate.anomaly.detectors.registry import NewDetector
from aggregate.testing.slices import (
    COLS,
    ROWS,
    all_equal,
    fit_slices,
    fitted_to,
    normal_slices,
    started,
    with_tokens,
)
from aggregate.testing.trial import Trial
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.common.law import LawError, hold

NEAR = 1e-4
"""Scores that should be equal may differ by so much of the largest one: sums run in another order."""
HALF = 0.02
"""Scores of tokens rounded to float16 may differ by so much of the range of scores."""
AUROC = 0.8
"""Of planted patches against the others in the foreground, at least."""
RISEN = 0.8
"""Share of slices whose score rises when tokens are planted in them, at least."""


def check_detector(part: Any, *, seed: int = 0, **options: Any) -> None:
    """Hold a detector to every law.

    Args:
        part: A class, a spec, or a mapping as it stands in a pipeline file.
        seed: Of the fits.
        **options: Of a class.

    Returns:
        None, which says that every law was kept.

    Raises:
        LawError: Naming the first law that it breaks.
        ConfigError: If it cannot be made at all.

    Example:
        >>> sc.testing.check_detector({"kind": "mahalanobis", "shrinkage": 0.1})
        >>> sc.testing.check_detector(MyDetector, width=3)
    """
    trial = Trial(_spec_of(part, options), seed)
    started(trial.spec, seed, trial.reference)
    for name, law in DETECTOR_LAWS.items():
        try:
            law(trial, name)
        except ConfigError:
            raise
        except SlicecacheError as error:
            raise LawError(name, str(error)) from error


def _spec_of(part: Any, options: Mapping[str, Any]) -> DetectorBase:
    """Read whatever stands for a detector."""
    if isinstance(part, DetectorBase):
        return part
    given = (
        part if isinstance(part, Mapping) else {"kind": "custom", "target": part, "options": dict(options)}
    )
    registry: TypeAdapter[DetectorBase] = TypeAdapter(NewDetector)
    return registry.validate_python(given)


def _apart(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, in shares of the largest number."""
    largest = max(float(wanted.abs().max()), 1e-12)
    return float((found.double() - wanted.double()).abs().max()) / largest


def _shape(trial: Trial, law: str) -> None:
    scores, queries = trial.scores, trial.queries
    wanted = tuple(queries.foreground.shape)
    hold(tuple(scores.shape) == wanted, law, f"score gave {tuple(scores.shape)}, not {wanted}")
    hold(scores.dtype == torch.float32, law, f"score gave {scores.dtype}, not torch.float32")
    hold(bool(torch.isfinite(scores).all()), law, "a score is not finite")
    by_slice = trial.detector.score_slices(queries, scores)
    hold(by_slice.shape == wanted[:1], law, f"score_slices gave {tuple(by_slice.shape)}, not {wanted[:1]}")
    hold(bool(torch.isfinite(by_slice).all()), law, "a slice's score is not finite")


def _found(trial: Trial, detector: Detector, law: str) -> None:
    """Planted tokens are above the rest of their slices, and raise the score of the slice."""
    if not detector.sees_tokens:
        return
    scores, inside = detector.score(trial.queries), trial.queries.foreground > 0
    block = torch.zeros_like(inside)
    block[:, ROWS, COLS] = True
    odd, usual = scores[block & inside], scores[~block & inside]
    above = (odd[:, None] > usual).double().mean() + 0.5 * (odd[:, None] == usual).double().mean()
    hold(
        float(above) >= AUROC,
        law,
        f"the AUROC of planted tokens is {float(above):.2f}, at least {AUROC} is expected; higher means more "
        "anomalous",
    )
    before = detector.score_slices(trial.normal, detector.score(trial.normal))
    after = detector.score_slices(trial.queries, scores)
    risen = float((after > before).double().mean())
    hold(
        risen >= RISEN, law, f"the scores of {risen:.0%} of the slices rise with odd tokens, not {RISEN:.0%}"
    )


def _planted(trial: Trial, law: str) -> None:
    _found(trial, trial.detector, law)


def _order_of_slices(trial: Trial, law: str) -> None:
    order = torch.randperm(len(trial.queries), generator=torch.Generator().manual_seed(0))
    apart = _apart(trial.detector.score(trial.queries.take(order)), trial.scores[order])
    hold(apart <= NEAR, law, f"slices in another order have scores that differ by {apart:.1e} of the largest")


def _alone(trial: Trial, law: str) -> None:
    for size in (1, 5):
        places = torch.arange(len(trial.queries)).split(size)
        found = torch.cat([trial.detector.score(trial.queries.take(some)) for some in places])
        apart = _apart(found, trial.scores)
        hold(apart <= NEAR, law, f"in batches of {size} scores differ by {apart:.1e} of the largest")


def _leaves_state(trial: Trial, law: str) -> None:
    before = {name: value.clone() for name, value in trial.detector.state().items()}
    again = trial.detector.score(trial.queries)
    changed = sorted(
        name for name, value in trial.detector.state().items() if not _same(before.get(name), value)
    )
    hold(not changed, law, f"scoring changed {', '.join(changed)}")
    apart = _apart(again, trial.scores)
    hold(apart <= NEAR, law, f"the same slices scored twice differ by {apart:.1e} of the largest score")


def _same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and bool(torch.equal(one, other))


def _stored(detector: Detector) -> dict[str, Tensor]:
    """A state as a file gives it back."""
    return dict(load(save({name: value.contiguous() for name, value in detector.state().items()})))


def _state(trial: Trial, law: str) -> None:
    try:
        stored = _stored(trial.detector)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise LawError(law, f"the state is not tensors by name that a file can hold: {error}") from error
    other = started(trial.spec, trial.seed, trial.reference)
    other.load_state(stored)
    apart = _apart(other.score(trial.queries), trial.scores)
    hold(
        apart <= NEAR, law, f"what was stored and read again scores otherwise, by {apart:.1e} of the largest"
    )
    hold(other.state().keys() == stored.keys(), law, "what was read again has a state of other names")


def _going_on(trial: Trial, law: str) -> None:
    detector = started(trial.spec, trial.seed, trial.reference)
    if detector.epochs < 2:
        return
    next(fit_slices(detector, trial.reference, trial.held_out))
    other = started(trial.spec, trial.seed, trial.reference)
    other.load_state(_stored(detector))
    for _ in fit_slices(other, trial.reference, trial.held_out, first=1):
        pass
    apart = _apart(other.score(trial.queries), trial.scores)
    hold(
        apart <= NEAR,
        law,
        f"a fit that was stopped after one epoch and gone on with scores otherwise, by {apart:.1e} of the "
        "largest: something that the fit needs is not in the state",
    )


def _seed(trial: Trial, law: str) -> None:
    apart = _apart(trial.fit().score(trial.queries), trial.scores)
    hold(apart <= NEAR, law, f"the same seed gives scores that differ by {apart:.1e} of the largest")


def _order_of_fit(trial: Trial, law: str) -> None:
    _found(trial, trial.fit(order=1), law)


def _half(trial: Trial, law: str) -> None:
    rounded = with_tokens(trial.queries, trial.queries.patches.half().float())
    scores = trial.scores
    span = max(float(scores.max() - scores.min()), 1e-12)
    apart = float((trial.detector.score(rounded) - scores).abs().max()) / span
    hold(apart <= HALF, law, f"tokens rounded to float16 change scores by {apart:.1%} of their range")


def _equal_tokens(trial: Trial, law: str) -> None:
    detector = fitted_to(trial.spec, trial.seed, all_equal(trial.reference), all_equal(trial.held_out))
    finite = torch.isfinite(detector.score(all_equal(trial.normal))).all()
    hold(bool(finite), law, "fitted to tokens that are all equal, a score is not finite")


def _one_slice(trial: Trial, law: str) -> None:
    try:
        detector = fitted_to(trial.spec, trial.seed, normal_slices([1]), trial.held_out)
    except SlicecacheError:
        return  # too few may be refused
    finite = torch.isfinite(detector.score(trial.queries)).all()
    hold(bool(finite), law, "fitted to one slice, a score is not finite; refuse it by a SlicecacheError")


DETECTOR_LAWS: Mapping[str, Callable[[Trial, str], None]] = {
    "scores have the grid's shape and are finite": _shape,
    "higher is more anomalous": _planted,
    "the order of slices does not matter": _order_of_slices,
    "a slice alone scores as in a batch": _alone,
    "a state gives the same scores": _state,
    "scoring leaves the state alone": _leaves_state,
    "a stopped fit goes on to the same scores": _going_on,
    "the same seed gives the same scores": _seed,
    "another order of the fit finds the same": _order_of_fit,
    "half precision is near": _half,
    "equal tokens have finite scores": _equal_tokens,
    "one slice is enough or refused": _one_slice,
}
"""By name, in the order in which they are tried."""
