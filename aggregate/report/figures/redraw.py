"""A figure again from its table: the same one as the run drew, byte for byte."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from aggregate.report.figures.cohort.embedding import embedding_figure
from aggregate.report.figures.cohort.flow import cohort_flow
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.images.components import component_figure
from aggregate.report.figures.scores.calibration import calibration_curve
from aggregate.report.figures.scores.confusion import confusion_drawn
from aggregate.report.figures.scores.decision import net_benefit
from aggregate.report.figures.scores.detected import PRECISION, ROC, volume_roc
from aggregate.report.figures.scores.distribution import distribution
from aggregate.report.figures.scores.evaluation import EXTERNAL, evaluation_figure
from aggregate.report.figures.scores.forest import Bar, forest
from aggregate.report.figures.scores.numbers import bias_over_truth, scatter
from aggregate.report.figures.scores.precision_recall import precision_recall, precisions_of
from aggregate.report.figures.scores.roc import roc, roc_by_class, rocs_of
from aggregate.report.figures.scores.survival import kaplan_meier_figure
from aggregate.report.figures.studies.ablation import Mark, differences, heat_from, heat_map
from aggregate.report.figures.studies.explanation import (
    height_figure_again,
    person_figure_again,
    share_figure_again,
)
from aggregate.report.figures.studies.fits import fit_figure
from aggregate.report.figures.studies.heights import attention_profile, profiles_of
from aggregate.report.figures.studies.learning import learning_figure
from aggregate.targets.told import METRICS
from cache_schema.common.text.cells import plain_cell

TEXT = (
    "name",
    "class",
    "configuration",
    "detector",
    "group",
    "label",
    "called",
    "mean_over",
    "volume",
    "panel",
    "of",
    "site",
    "sex",
)
"""Columns that hold text, whatever it looks like; so do names and titles that are numbers."""
ONE_EACH = ("fit", "components", "height", "deletion", "insertion", "person", "detected")
"""Kinds of which each detector, method or participant has one, called `fit-NAME`."""
Facts = Mapping[str, Any]


def redrawn(kind: str, name: str, table: pd.DataFrame, facts: Facts) -> Drawing:
    """Draw a figure again.

    Args:
        kind: As in `Drawing`.
        name: Of its files.
        table: As `read_back` gives it.
        facts: As in `Drawing`.

    Raises:
        KeyError: If there is no such kind, or the table lacks a column.
    """
    first = kind.partition("-")[0]
    if first == "detected":
        facts = {**facts, "salt": kind}
    drawing = AGAIN[first if first in ONE_EACH else kind](table, facts)
    drawing.name = name
    return drawing


def read_back(data: bytes) -> pd.DataFrame:
    """The table of a figure from its CSV: numbers to the last bit, text as it was."""
    frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    frame = frame.rename(columns=plain_cell)
    for place, column in enumerate(frame.columns):
        cells = [str(cell) for cell in frame.iloc[:, place]]
        frame.isetitem(place, _values([plain_cell(cell) for cell in cells], column in TEXT))
    return frame


def _values(cells: list[str], text: bool) -> list[Any]:
    """Cells as truths, whole numbers, numbers or text: whichever all of them are; an empty number is NaN."""
    if not text:
        if set(cells) <= {"True", "False"}:
            return [cell == "True" for cell in cells]
        for kind in (int, float):
            try:
                return [kind(cell) if cell or kind is int else float("nan") for cell in cells]
            except ValueError:
                continue
    return cells


def _forest(table: pd.DataFrame, facts: Facts) -> Drawing:
    null = facts["null"]
    return forest([Bar(**row) for row in _rows(table)], null and tuple(null), METRICS[facts["metric"]])


def _roc(table: pd.DataFrame, facts: Facts) -> Drawing:
    curves = rocs_of(table)
    if facts.get("by_class"):
        return roc_by_class(curves)
    first = next(iter(curves))
    return roc(first, curves.pop(first), curves)


def _differences(table: pd.DataFrame, facts: Facts) -> Drawing:
    marks = [Mark(**row) for row in _rows(table)]
    return differences(marks, facts["reference"], METRICS[facts["metric"]])


def _kaplan_meier(table: pd.DataFrame, facts: Facts) -> Drawing:
    groups = {
        str(name): rows["signed_time"].to_numpy(float) for name, rows in table.groupby("group", sort=False)
    }
    return kaplan_meier_figure(groups, facts["unit"])


def _learning(table: pd.DataFrame, facts: Facts) -> Drawing:
    drawing = learning_figure(table)
    if drawing is None:
        raise KeyError("epoch")
    return drawing


def _scores(salt: str) -> Callable[[pd.DataFrame, Facts], Drawing]:
    def again(table: pd.DataFrame, facts: Facts) -> Drawing:
        return distribution(table, facts["classes"], facts["axis"], facts["threshold"], salt)

    return again


def _detected(table: pd.DataFrame, facts: Facts) -> Drawing:
    return distribution(table, facts["classes"], facts["axis"], None, facts["salt"], facts["span"])


def _precision_recall(salt: str) -> Callable[[pd.DataFrame, Facts], Drawing]:
    def again(table: pd.DataFrame, facts: Facts) -> Drawing:
        share = float("nan") if facts["share"] is None else float(facts["share"])
        return precision_recall(precisions_of(table), share, salt)

    return again


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with None where nothing is."""
    found = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in found]


AGAIN: dict[str, Callable[[pd.DataFrame, Facts], Drawing]] = {
    "forest": _forest,
    "roc": _roc,
    "attention": lambda table, facts: attention_profile(profiles_of(table), facts["from_pole"]),
    "learning": _learning,
    "confusion": lambda table, facts: confusion_drawn(table),
    "kaplan-meier": _kaplan_meier,
    "scatter": lambda table, facts: scatter(table, facts["target"], "scatter"),
    "bias": lambda table, facts: bias_over_truth(table, facts["target"], "bias"),
    "differences": _differences,
    "heat": lambda table, facts: heat_map(heat_from(table, facts["x"], facts["y"]), facts["metric"]),
    "components": lambda table, facts: component_figure(facts["detector"], facts["scorer"], table),
    "fit": lambda table, facts: fit_figure(facts["detector"], table),
    "scores": _scores("scores"),
    "external-scores": _scores("external-scores"),
    "precision-recall": _precision_recall("precision-recall"),
    "external-precision-recall": _precision_recall("external-precision-recall"),
    "detected": _detected,
    ROC: lambda table, facts: volume_roc(rocs_of(table)),
    PRECISION: _precision_recall(PRECISION),
    "calibration": lambda table, facts: calibration_curve(table),
    "decision-curve": lambda table, facts: net_benefit(table),
    "cohort-flow": lambda table, facts: cohort_flow(table),
    "embedding-map": lambda table, facts: embedding_figure(table, tuple(facts["shares"]), facts["target"]),
    "height": height_figure_again,
    "deletion": partial(share_figure_again, "deletion"),
    "insertion": partial(share_figure_again, "insertion"),
    "person": person_figure_again,
    EXTERNAL: lambda table, facts: evaluation_figure(facts["curve"], table),
}
"""By `Drawing.kind`."""
