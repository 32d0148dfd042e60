"""Table 1: who the participants are, a column per class."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from aggregate.cohort.table.columns import SYNONYMS, find_column, same_meaning
from aggregate.common.table_values import natural, value_name
from aggregate.report.text.tables import TextTable
from aggregate.train.results import Results

FEW = 5
"""Numbers with no more different values are told one by one: they are codes."""
MOST_VALUES = 12
"""Values of one column that have a row each."""


def cohort_table(results: Results) -> TextTable:
    """Table 1 of a training: age, sex and site, and whatever else the run names as a confound or matches."""
    section = results.config.get("aggregate")
    section = section if isinstance(section, dict) else {}
    named = [*(section.get("confounds") or ()), section.get("site")]
    named += (section.get("folds") or {}).get("matched") or ()
    frame = results.cohort
    columns = wanted_columns(list(frame.columns), named, str(results.metrics.get("target", "")))
    bags = len(frame) if len(frame) > frame["participant_id"].nunique() else None
    return characteristics(frame, results.classes, columns, bags is not None)


def wanted_columns(columns: Sequence[str], named: Iterable[str | None], target: str) -> list[str]:
    """Age, sex and site as far as they are there, then what is named; never the target."""
    found = [find_column(columns, meaning) for meaning in ("age", "sex", "site")]
    asked = [next((own for own in (name, f"{name} (table)") if own in columns), None) for name in named]
    kept = dict.fromkeys(name for name in (*found, *asked) if name is not None)
    return [name for name in kept if not same_meaning(name, target)]


def characteristics(
    frame: pd.DataFrame, classes: Sequence[str], columns: Sequence[str], bags: bool = False
) -> TextTable:
    """Mean (sd) and range of numbers, n (% of those known) of the rest, and how many lack a value.

    Args:
        frame: A row per bag with participant_id, y (place of the class) and the columns; of several sessions
            of a participant the first counts.
        classes: Labels.
        columns: What is told, in this order.
        bags: Whether there is a row of bags.
    """
    people = frame.drop_duplicates("participant_id")
    groups = [people[people["y"] == place] for place in range(len(classes))]
    sides = [*groups, people] if len(classes) > 1 else groups
    rows = [("participants, n", *(str(len(side)) for side in sides))]
    if bags:
        several = [int((frame["y"] == place).sum()) for place in range(len(classes))]
        totals = [*several, len(frame)] if len(classes) > 1 else several
        rows.append(("bags of slices, n", *map(str, totals)))
    for name in columns:
        rows += _rows(name, people[name], [side[name] for side in sides])
    whole = ("all",) if len(classes) > 1 else ()
    return TextTable(("characteristic", *classes, *whole), tuple(rows))


def _rows(name: str, values: pd.Series, sides: Sequence[pd.Series]) -> list[tuple[str, ...]]:
    """One column's."""
    numbers = pd.to_numeric(values, errors="coerce")
    amount = numbers.nunique() > FEW and not any(same_meaning(name, group[0]) for group in SYNONYMS)
    if numbers.notna().sum() == values.notna().sum() and (amount or same_meaning(name, "age")):
        rows = [(f"{name}, mean (sd)", *map(_mean, sides)), (f"{name}, range", *map(_range, sides))]
    else:
        rows = _shares(name, sides)
    gone = [int(side.isna().sum()) for side in sides]
    return [*rows, (f"{name}, not known, n", *map(str, gone))] if any(gone) else rows


def _mean(side: pd.Series) -> str:
    """`71.3 (8.2)`; of one value without a spread."""
    numbers = pd.to_numeric(side, errors="coerce").dropna()
    if numbers.empty:
        return "–"
    return f"{numbers.mean():.1f}" + (f" ({numbers.std():.1f})" if len(numbers) > 1 else "")


def _range(side: pd.Series) -> str:
    numbers = pd.to_numeric(side, errors="coerce").dropna()
    return f"{numbers.min():.4g} to {numbers.max():.4g}" if len(numbers) else "–"


def _shares(name: str, sides: Sequence[pd.Series]) -> list[tuple[str, ...]]:
    """A row per value: `12 (54.5 %)`."""
    told = [np.array([value_name(cell) for cell in side.dropna()], dtype=object) for side in sides]
    every, counts = np.unique(np.concatenate(told).astype(str), return_counts=True)
    commonest = [str(every[place]) for place in np.argsort(-counts, kind="stable")[:MOST_VALUES]]
    rows = [
        (f"{name} {value}, n (%)", *(_share(own == value) for own in told))
        for value in sorted(commonest, key=natural)
    ]
    if len(every) > MOST_VALUES:
        others = [_share(~np.isin(own.astype(str), commonest)) for own in told]
        rows.append((f"{name}, {len(every) - MOST_VALUES} others, n (%)", *others))
    return rows


def _share(hits: np.ndarray) -> str:
    return f"{int(hits.sum())} ({hits.mean():.1%})".replace("%", " %") if len(hits) else "–"
