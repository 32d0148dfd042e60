"""Whose volumes a store holds, as far as a bundle that harmonises must know: site and what is preserved."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from aggregate.cohort.table.cohort_table import read_table
from aggregate.cohort.table.join import make_join
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.common.table_values import listed
from aggregate.predict.bundle import Bundle
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.store.reader import StoreReader


def people_of_bags(
    bundle: Bundle, store: StoreReader, bags: Sequence[tuple[int, ...]], table: Path | None
) -> pd.DataFrame | None:
    """A line per bag as `Harmonised.known` gives it; None for a bundle that does not harmonise.

    Args:
        bundle: To apply.
        store: Of the volumes.
        bags: Places of their volumes.
        table: With a row per participant, or per session.

    Raises:
        ConfigError: If there is no table where one is needed, or one where none is.
        SlicecacheError: If it cannot be read, lacks a volume or a column, or a site is none of training's.
    """
    kept = bundle.harmonised
    if kept is None:
        if table is not None:
            raise ConfigError(
                f"a table of participants ({str(table)!r}) is for a bundle whose training was harmonised, "
                "and this one's was not"
            )
        return None
    if table is None:
        raise ConfigError(
            "the bundle's training was harmonised, so each volume's site must be known: say --cohort TABLE "
            f"(in Python cohort=), with {listed(_columns(bundle))}"
        )
    read, keys = read_table(table), [store.entries[bag[0]].key for bag in bags]
    join = make_join(JoinSpec(), read, [entry.key for entry in store.entries])
    rows, reasons = join.rows_of(keys, read, join.of_table(read), {})
    absent = [str(key) for key, reason in zip(keys, reasons, strict=True) if reason]
    if absent:
        raise SlicecacheError(
            f"harmonise: {table.name} has no row for {len(absent)} of {len(keys)} volumes: "
            f"{listed(absent, 3)}"
        )
    return kept.known(read.typed.iloc[rows], [key.participant_id for key in keys], table.name)


def _columns(bundle: Bundle) -> list[str]:
    """Those of the table that are read."""
    card = bundle.card.harmonised
    assert card is not None
    names = dict.fromkeys(column.name for design in card.designs for column in design.columns)
    return ["participant_id", card.site, *names]
