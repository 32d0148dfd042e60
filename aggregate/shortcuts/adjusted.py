"""Does the head know more than the confounds? Its scores without what age, sex and site explain of them.

A difference of AUROC cannot say it: where confounds tell much, a head that knows as much of its own and
ignores them is no better than they are. So the head's out-of-fold log-odds are standardised within every
test part, regressed on the confounds (numbers and their squares, a column per word) over all participants
of a repeat, and the AUROC of the residuals is taken within test parts as always. Labels have no part in the
regression. If the head knows nothing but what the confounds say in these terms, its residuals know nothing.

Chosen by simulation (`docs/statistics.md`, `benchmarks/adjusted.py`): it holds its level and finds most where
confounds tell much. Combining both logits by a second regression on the other folds' out-of-fold logits leaks
(a head that was trained on a test part's labels scored those other folds) and finds next to nothing; pairs of
participants of one site leave age and sex in; pairs alike in the confounds' own logit hold the level and find
less.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.baselines.confounds import confound_frame
from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats, Ints
from aggregate.common.design import design
from aggregate.common.scaling import fit_scaling
from aggregate.common.table_values import listed
from aggregate.shortcuts.site import LEVEL
from aggregate.statistics.corrected import SHARED_PAIRS, corrected_interval, corrected_t_test, mean_over_seeds
from aggregate.statistics.evaluate import OutOfFold
from aggregate.statistics.metrics import GUESSING, auroc


def adjusted_facts(
    cohort: Cohort,
    outputs: Sequence[OutOfFold],
    confounds: Sequence[str] | None = None,
    site: str | None = None,
) -> dict[str, Any]:
    """`adjusted` of `metrics.json`.

    Args:
        cohort: Gives labels and confounds.
        outputs: Of the head, every fold and seed.
        confounds: As for the baseline of that name.
        site: Likewise.

    Returns:
        `confounds` (their names), `auroc` beyond them with a corrected interval (macro for several classes),
        `p` against 0.5 and `said`; nothing where the target is no class or no confound is known.
    """
    if cohort.kind.primary.name != "auroc":
        return {}
    frame, _ = confound_frame(cohort, confounds, site)
    if not len(frame.columns):
        return {}
    values, n_train, n_test = _values(cohort, outputs, frame)
    interval = corrected_interval(values, n_train, n_test, bounds=(0.0, 1.0), overlap=SHARED_PAIRS)
    p = None
    if np.isfinite(values).sum() > 1:
        found = corrected_t_test(values - GUESSING, n_train, n_test, overlap=SHARED_PAIRS).p
        p = float(found) if np.isfinite(found) else None
    facts = {"confounds": list(map(str, frame.columns)), "auroc": interval.as_json(), "p": p}
    return {"adjusted": facts | {"said": _said(outputs[0].configuration, facts)}}


def beyond(parts: Sequence[tuple[Ints, Floats]], covariates: Floats) -> list[Floats]:
    """Log-odds of the test parts of one repeat without what covariates explain of them.

    Args:
        parts: Participants and their log-odds (row, class), per fold.
        covariates: Of all participants (participant, column).

    Returns:
        Residuals, part by part (row, class).
    """
    rows = np.concatenate([own for own, _ in parts])
    z = np.concatenate([_standard(odds) for _, odds in parts])
    columns = np.concatenate([np.ones((len(rows), 1)), covariates[rows]], axis=1)
    rest = z - columns @ np.linalg.lstsq(columns, z, rcond=None)[0]
    return np.split(rest, np.cumsum([len(own) for own, _ in parts])[:-1])


def covariates_of(frame: pd.DataFrame) -> Floats:
    """Numbers, standardised, and their squares; words as a column each (row, column)."""
    every = np.arange(len(frame))
    numbers = [name for name in frame if pd.api.types.is_numeric_dtype(frame[name])]
    own, words = design(frame[numbers], every), design(frame.drop(columns=numbers), every)
    scaled = fit_scaling(own)(own)
    return np.concatenate([scaled, scaled**2, words], axis=1)


def _standard(odds: Floats) -> Floats:
    spread = odds.std(axis=0)
    return np.asarray((odds - odds.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def _values(
    cohort: Cohort, outputs: Sequence[OutOfFold], frame: pd.DataFrame
) -> tuple[Floats, Floats, Floats]:
    """AUROC beyond the confounds (fold,), seeds averaged, with the parts' sizes in participants."""
    names, first = np.unique(cohort.participants, return_index=True)
    place = {str(name): index for index, name in enumerate(names)}
    covariates = covariates_of(frame.iloc[first])
    repeats: dict[tuple[int, int], list[OutOfFold]] = {}
    for output in outputs:
        repeats.setdefault((output.fold.repeat, output.seed), []).append(output)
    found: dict[tuple[int, int], list[float]] = {}
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for own in repeats.values():
        scores = [output.scores(cohort) for output in own]
        parts = [
            (np.array([place[name] for name in one.participant_id]), _log_odds(one.probability()))
            for one in scores
        ]
        for output, one, rest in zip(own, scores, beyond(parts, covariates), strict=True):
            key = output.fold.repeat, output.fold.fold
            found.setdefault(key, []).append(_auroc(one.y, rest))
            inside = np.concatenate([output.fold.train, output.fold.validation])
            sizes[key] = len(np.unique(cohort.participants[inside])), len(one.y)
    n_train, n_test = np.array([sizes[key] for key in found], dtype=np.float64).T
    return (
        mean_over_seeds([(key, value) for key, values in found.items() for value in values]),
        n_train,
        n_test,
    )


def _log_odds(p: Floats) -> Floats:
    """Of every class (row, class), or of the positive one of two (row, 1)."""
    p = np.clip(p, 1e-12, 1 - 1e-12)
    odds = np.log(p) - np.log1p(-p)
    return odds[:, 1:] if odds.shape[1] == 2 else odds


def _auroc(y: Ints, rest: Floats) -> float:
    """Of the positive class, or the mean over classes."""
    wanted = [1] if rest.shape[1] == 1 else list(range(rest.shape[1]))
    each = [auroc((y == c).astype(np.int64), rest[:, i]) for i, c in enumerate(wanted)]
    return float(np.mean(each))


def _said(name: str, facts: dict[str, Any]) -> str:
    """One sentence."""
    found, p = facts["auroc"], facts["p"]
    known = listed(facts["confounds"])
    if found["value"] is None or p is None:
        return f"whether {name} knows more than {known} cannot be said: too few folds define it"
    if found["value"] < GUESSING:
        low = f"{found['value']:.3f}, which counts as {GUESSING}"
        return f"{name} is not shown to know more than {known}: AUROC beyond them {low}"
    told = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    more = p <= LEVEL
    return (
        f"{name} {'knows' if more else 'is not shown to know'} more than {known}: AUROC beyond them "
        f"{found['value']:.3f} [{found['ci_low']:.3f}, {found['ci_high']:.3f}], {told}"
    )
