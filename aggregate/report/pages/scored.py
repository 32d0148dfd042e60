"""The section on scores: what one configuration says of participants, drawn, with captions that say the n."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aggregate.report.figures.cohort.embedding import embedding_figure
from aggregate.report.figures.curves import roc_of
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.scores.calibration import calibration_curve, calibration_table
from aggregate.report.figures.scores.decision import decision_table, net_benefit
from aggregate.report.figures.scores.distribution import distribution, score_table
from aggregate.report.figures.scores.precision_recall import precision_of, precision_recall
from aggregate.report.figures.scores.roc import roc
from aggregate.report.figures.scores.said import n_rounds, people_of, said_of, told_n
from aggregate.report.text.words import head_of, named
from aggregate.report.text.worst import worst_calls, worst_numbers
from aggregate.train.results import Results
from cache_schema.common.text.counts import counted

FEW = 10
"""Participants of a class below which a figure says so itself."""
MOST_LINES = 6
FLAT = 1e-9
"""Scores that differ by no more are one."""

Part = dict[str, Any]
"""drawing (None where a sentence stands for it) and caption."""


def scored_content(
    predictions: pd.DataFrame,
    configurations: Sequence[str],
    classes: Sequence[str],
    outside: bool = False,
    with_roc: bool = False,
    names: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Figures and the table of the worst errors; None where nothing has probabilities.

    Args:
        predictions: As in `predictions.csv`.
        configurations: The one in question first, then what is drawn beside it.
        classes: Labels, of two the positive one last.
        outside: Whether these participants are outside all training; ROC, calibration and decision curve of
            such are drawn elsewhere.
        with_roc: Whether a ROC curve is among them, too.
        names: What configurations are called, where that is not their usual name.
    """
    called = {name: (names or {}).get(name, named(name)) for name in configurations[:MOST_LINES]}
    every = {name: said_of(predictions, name, classes) for name in called}
    told = {name: said for name, said in every.items() if said is not None}
    head = configurations[0] if configurations else ""
    if head not in told:
        return None
    people = people_of(told[head], classes)
    content: dict[str, Any] = {
        "name": called[head],
        "n": told_n(people, classes),
        "outside": outside,
        "few": "",
    }
    values = people[[f"p_{name}" for name in classes]].to_numpy()
    if float(np.ptp(values, axis=0).max()) <= FLAT:
        same = f"{called[head]} gives every participant the same probabilities: there is nothing to draw."
        return {**content, "parts": [{"drawing": None, "caption": same}], "worst": None}
    parts = [_distribution(people, told[head], classes, outside)]
    if with_roc and len(classes) == 2:
        parts.append(_roc(predictions, [called[name] for name in told], list(told), classes))
    parts.append(_precision(told, called, classes, outside))
    if len(classes) == 2 and not outside:
        parts += [_calibration(told, classes[1]), _decision(told, classes[1])]
    few = min(int((people["label"] == name).sum()) for name in classes)
    if few < FEW:
        content["few"] = (
            f"The smallest class has {counted(few, 'participant')}: the shape of these figures says little."
        )
    return {**content, "parts": parts, "worst": worst_calls(people, told[head])}


def drawings_of(content: dict[str, Any] | None, prefix: str = "") -> list[Drawing]:
    """Figures of the section, with the prefix of their files."""
    found = [part["drawing"] for part in (content or {}).get("parts", ()) if part["drawing"] is not None]
    for drawing in found:
        drawing.name = f"{prefix}{drawing.name.removeprefix('external_')}"
    return found


def _distribution(people: pd.DataFrame, said: pd.DataFrame, classes: Sequence[str], outside: bool) -> Part:
    """How scores lie in every class."""
    binary = len(classes) == 2
    threshold = said["threshold"].to_numpy(dtype=np.float64)
    limits = (
        [float(threshold.min()), float(threshold.max())] if binary and not np.isnan(threshold).any() else None
    )
    axis = f"probability of {classes[1]}" if binary else "probability of the own label"
    rounds = n_rounds(said)
    each = (
        ""
        if outside
        else f", each the mean of {rounds} out-of-fold probabilities"
        if rounds > 1
        else ", out-of-fold"
    )
    caption = f"A dot per participant: {told_n(people, classes)}{each}. Black: median and quartiles."
    if limits is not None:
        caption += f" Dashed: threshold {limits[0]:.2f}"
        caption += f" to {limits[1]:.2f} (grey: its range over folds)." if np.ptp(limits) > FLAT else "."
    salt = "external-scores" if outside else "scores"
    return {
        "drawing": distribution(score_table(people, classes), classes, axis, limits, salt),
        "caption": caption,
    }


def _roc(
    predictions: pd.DataFrame, names: Sequence[str], configurations: Sequence[str], classes: Sequence[str]
) -> Part:
    """ROC curves within folds, averaged."""
    found = {
        name: roc_of(
            predictions[predictions["configuration"] == own], classes[1], tuple(classes[:1]), index == 0
        )
        for index, (name, own) in enumerate(zip(names, configurations, strict=True))
    }
    curves = {name: curve for name, curve in found.items() if curve is not None}
    main = curves.pop(names[0], None)
    if main is None:
        return {"drawing": None, "caption": "No ROC curve: no test part holds both sides."}
    caption = (
        "Out-of-fold ROC: curves of the folds averaged. Band: pointwise 95 % interval, as the table's. Thin "
        "lines: single repeats."
    )
    return {"drawing": roc(names[0], main, curves), "caption": caption}


def _precision(
    told: Mapping[str, pd.DataFrame], called: Mapping[str, str], classes: Sequence[str], outside: bool
) -> Part:
    """Precision over recall: of two classes the positive one's, of more each against the rest."""
    head = next(iter(told))
    if len(classes) == 2:
        found = {
            called[name]: precision_of(said, classes[1], banded=name == head) for name, said in told.items()
        }
        share = float((people_of(told[head], classes)["label"] == classes[1]).mean())
    else:
        found = {f"{name} against the rest": precision_of(told[head], name) for name in classes[:MOST_LINES]}
        share = float("nan")
    curves = {name: curve for name, curve in found.items() if curve is not None}
    if not curves or (len(classes) == 2 and called[head] not in curves):
        return {"drawing": None, "caption": "No precision-recall curve: no test part holds both sides."}
    folds = told[head][["repeat", "fold"]].drop_duplicates()
    over = f"mean over {len(folds)} test folds" if len(folds) > 1 else "over test participants"
    caption = f"Precision over recall, {over}."
    if len(classes) == 2:
        way = (
            "corrected for folds that share participants" if len(folds) > 1 else "bootstrap over participants"
        )
        caption += f" Band: pointwise 95 % interval ({way}). "
        caption += f"Grey line: calling everybody {classes[1]} ({share:.2f})."
    salt = "external-precision-recall" if outside else "precision-recall"
    return {"drawing": precision_recall(curves, share, salt), "caption": caption}


def _calibration(told: Mapping[str, pd.DataFrame], positive: str) -> Part:
    """Share observed over probability given."""
    tables = [
        calibration_table(name, *_truth(said, positive), rounds=n_rounds(said))
        for name, said in list(told.items())[:2]
    ]
    rounds, bins = n_rounds(next(iter(told.values()))), len(tables[0])
    once = f", everybody counted once in each of {rounds} repeats" if rounds > 1 else ""
    caption = (
        f"Calibration: share of {positive} over the out-of-fold probability given, in {bins} "
        f"bin{'s' * (bins != 1)} of about equally many participants{once}; the numbers below say how many. "
        "Bars: Wilson's interval, which takes participants for independent, though their models shared "
        "training data. On the grey line a probability means what it says."
    )
    return {"drawing": calibration_curve(pd.concat(tables, ignore_index=True)), "caption": caption}


def _decision(told: Mapping[str, pd.DataFrame], positive: str) -> Part:
    """Net benefit over thresholds."""
    table = decision_table({name: _truth(said, positive) for name, said in told.items()})
    caption = (
        "Decision curve, out-of-fold: net benefit in true positives per participant of acting at a "
        "probability. A model is worth using where it lies above both treating everybody and nobody; "
        "no interval is drawn, and small gaps are chance."
    )
    return {"drawing": net_benefit(table), "caption": caption}


def _truth(said: pd.DataFrame, positive: str) -> tuple[np.ndarray, np.ndarray]:
    """Truth and the positive class's probability of every participant and round."""
    truth = (said["label"] == positive).to_numpy(dtype=np.float64)
    return truth, said[f"p_{positive}"].to_numpy(dtype=np.float64)


def number_errors(predictions: pd.DataFrame, configuration: str) -> dict[str, Any] | None:
    """The same section of a target that is a number: the largest errors alone."""
    if not {"prediction", "y", "configuration", "participant_id"} <= set(predictions.columns):
        return None
    own = predictions[predictions["configuration"] == configuration]
    means = own.groupby("participant_id", sort=True)[["y", "prediction"]].mean().astype(float).reset_index()
    if means.empty:
        return None
    worst = worst_numbers(means.rename(columns={"y": "truth"}))
    n = counted(len(means), "participant")
    return {"name": named(configuration), "n": n, "outside": False, "few": "", "parts": [], "worst": worst}


def scored_section(results: Results) -> dict[str, Any] | None:
    """What the head says of single participants, beside the baselines."""
    inside = results.predictions
    inside = inside[inside["repeat"].notna()] if "repeat" in inside else inside
    if inside.empty:
        return None
    head = head_of(results.metrics)
    if "outcome" in results.metrics:
        return number_errors(inside, head)
    names = [head, *(name for name in results.metrics["baselines"] if name != head)]
    return scored_content(inside, names, results.classes)


def embedding_map_figure(results: Results) -> Drawing | None:
    """Where participants lie, if there is anything to project."""
    found = results.embedding
    if found is None:
        return None
    return embedding_figure(found.points, found.shares, str(results.metrics.get("target", "")))
