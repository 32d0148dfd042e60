"""Which of a participant's sessions take part: `sessions: first | last | all | COLUMN`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aggregate.cohort.table.join import CohortTable, JoinSpec, bare
from aggregate.common.table_values import natural, nearest, value_name
from cache_schema.common.errors import ConfigError

FLAGS = {"1", "true", "yes", "y", "x"}


@dataclass(frozen=True, slots=True)
class Visit:
    """One participant's session, and the row of the table that it was joined to."""

    participant_id: str
    session_id: str
    row: int


def choose_sessions(
    rule: str, visits: Sequence[Visit], table: CohortTable, join: JoinSpec, by_session: bool
) -> list[str]:
    """Say for every visit why it is left out; an empty text where it is used.

    `first` and `last` are among the visits given, those that have a label and a volume.

    Args:
        rule: `first`, `last`, `all`, or a column.
        visits: What there is to choose from; sessions of one participant may repeat.
        table: The cohort table that `Visit.row` counts in.
        join: Says by which column sessions are ordered.
        by_session: Whether the table has a row per session.

    Raises:
        ConfigError: If the rule is neither a word nor a column.
    """
    if rule == "all":
        return [""] * len(visits)
    if rule in ("first", "last"):
        chosen = _extreme(rule, visits, table, join)
        return ["" if chosen[v.participant_id] == v.session_id else f"session not {rule}" for v in visits]
    if rule not in table.text.columns:
        near = nearest(rule, ["first", "last", "all", *table.text.columns])
        raise ConfigError(f"sessions: {rule!r} is neither first, last, all nor a column{near}")
    cells = [str(table.text[rule].iloc[v.row]) for v in visits]
    if by_session:
        return ["" if value_name(c).lower() in FLAGS else f"session not marked in {rule}" for c in cells]
    return [
        "" if bare(cell, ["ses-"]) == bare(v.session_id, ["ses-"]) else f"session not the one in {rule}"
        for cell, v in zip(cells, visits, strict=True)
    ]


def _extreme(rule: str, visits: Sequence[Visit], table: CohortTable, join: JoinSpec) -> dict[str, str]:
    """Each participant's first or last session."""
    column = None if join.order is None else table.typed[table.require(join.order, "join.order")]
    best: dict[str, tuple[Any, str]] = {}
    for visit in visits:
        rank = (_rank(None if column is None else column.iloc[visit.row]), natural(visit.session_id))
        held = best.get(visit.participant_id)
        if held is None or (rank < held[0] if rule == "first" else rank > held[0]):
            best[visit.participant_id] = (rank, visit.session_id)
    return {participant: session for participant, (_, session) in best.items()}


def _rank(value: Any) -> tuple[int, float, str]:
    """Numbers and ISO dates in their order; a missing value comes last for `first`."""
    if value is None or pd.isna(value):
        return (1, 0.0, "")
    return (0, float(value), "") if isinstance(value, int | float) else (0, 0.0, str(value))
