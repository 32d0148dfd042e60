"""What is handed on: a store's committed volumes, and beside them what a cohort table says of each."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aggregate.cohort.narrowing import read_cohort_table
from aggregate.cohort.no_match import no_match
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.table.cohort_table import CohortTable
from aggregate.cohort.table.join import make_join
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.common.run_folder import CONFIG, METRICS_FILE, VERBS
from cache_schema.common.errors import ConfigError, SlicecacheError
from cache_schema.format.header import ArraySpec
from cache_schema.format.identity import VolumeKey
from cache_schema.move.export import without_place
from cache_schema.move.provenance import created_of
from cache_schema.store.reader import StoreReader, open_store

KEY_COLUMNS = ("participant_id", "session_id", "volume_id")
SLICE_COLUMNS = ("slice_index", "height_mm", "world_z_mm")
TAKEN = {*KEY_COLUMNS, *SLICE_COLUMNS, "n_slices", "keep", "_index", "index", "volume", "slice"}
MOST_COLUMNS = 1000
"""Of a cohort table; HDF5 keeps their names in one attribute, which has an end."""
UNSAFE = re.compile(r"[^\w.()+-]")


@dataclass(frozen=True)
class Source:
    """A store as it is handed on: no host, no command, no path."""

    store: StoreReader
    columns: pd.DataFrame
    """A row per committed volume, in the store's order: what the cohort table says, numbers or text."""
    run: Path | None = None
    """The run folder that named the store."""
    notes: list[str] = field(default_factory=list)
    """What whoever exports should know."""

    @cached_property
    def said(self) -> dict[str, str]:
        """Where the numbers come from, as text: hashes, and as JSON what they are of."""
        store = self.store
        kept = without_place(store.header.model_copy(update={"created": created_of(store)}))
        print_ = store.header.fingerprint
        return {
            "fingerprint": print_.digest,
            "content_digest": store.content_digest(),
            "plane": print_.plane,
            "backbone": json.dumps(print_.backbone.model_dump(mode="json")),
            "preprocessing": json.dumps([dict(step) for step in print_.preprocessing]),
            "slices": json.dumps(print_.slices),
            "numerics": json.dumps(store.header.numerics.model_dump(mode="json")),
            "provenance": json.dumps(kept.created),
        }

    def named_columns(self) -> "dict[str, pd.Series[Any]]":
        """What the table says, by name."""
        return {str(name): values for name, values in self.columns.items()}

    def specs(self, names: Sequence[str] = ()) -> list[ArraySpec]:
        """The arrays of some names, or all that hold tokens.

        Raises:
            StoreError: If there is no such array.
        """
        found = [self.store.layout(name).spec for name in dict.fromkeys(names)]
        return found or [spec for spec in self.store.header.arrays if spec.dims[-1] == "dim"]

    def key_texts(self) -> dict[str, list[str]]:
        """The three columns of the volumes' keys.

        Raises:
            SlicecacheError: If an id is no text that a file can hold.
        """
        parts = zip(*(entry.key.as_list() for entry in self.store.entries), strict=True)
        return {
            name: [plain_text(text) for text in column]
            for name, column in zip(KEY_COLUMNS, parts, strict=True)
        }


def open_source(where: str | Path, cohort: str | Path | None = None, overrides: Sequence[str] = ()) -> Source:
    """Open a store, or what a run folder was made of.

    Args:
        where: A store of any kind that the reader opens, or a run folder, or a verb's folder in it.
        cohort: A table whose columns go beside the volumes; of a run its own.
        overrides: `cache.store=PATH`, where the store of a run has moved.

    Raises:
        SlicecacheError: If it is neither, or the table does not fit.
    """
    config = config_of(Path(where)) if "://" not in str(where) else None
    if config is None:
        if overrides:
            raise ConfigError("--set is for a run folder, whose config.yaml says where its store is")
        return of_store(open_store(where), cohort)
    from aggregate.explain.run import read_config, trained_section  # torch, which a store needs not

    pipeline = read_config(config, overrides)
    store = open_store(pipeline.store(), pipeline.prove())
    root = config.parent.parent if config.parent.name in VERBS else config.parent
    if cohort is not None or "aggregate" not in pipeline.data or "cohort" not in pipeline.data["aggregate"]:
        return of_store(store, cohort, root)
    request = trained_section(pipeline).cohort_request(pipeline)
    return beside(store, read_cohort_table(request), request.join, root)


def of_store(store: StoreReader, cohort: str | Path | None = None, run: Path | None = None) -> Source:
    """A store that is open, with the columns of a table.

    Raises:
        SlicecacheError: If the table cannot be read, or fits no volume.
    """
    if not len(store.entries):
        raise SlicecacheError(f"{store.location!r} holds no committed volume; there is nothing to export")
    if cohort is None:
        return Source(store, pd.DataFrame(index=range(len(store.entries))), run)
    table = read_cohort_table(CohortRequest(Path(cohort).expanduser()))
    return beside(store, table, JoinSpec(), run)


def beside(store: StoreReader, table: CohortTable, spec: JoinSpec, run: Path | None) -> Source:
    """The columns of a table beside the volumes that its rows are for."""
    keys: list[VolumeKey] = [entry.key for entry in store.entries]
    join = make_join(spec, table, keys)
    pairs = join.of_table(table)
    rows, _ = join.rows_of(keys, table, pairs, {})
    if max(rows) < 0:
        raise SlicecacheError(no_match(keys, pairs, table, join))
    known = {spec.participant, join.session, *KEY_COLUMNS}
    typed = table.typed[[name for name in table.typed.columns if name not in known]]
    if len(typed.columns) > MOST_COLUMNS:
        raise SlicecacheError(
            f"{table.path.name} has {len(typed.columns)} columns, at most {MOST_COLUMNS} are taken along; "
            "make a table of those that are needed"
        )
    # A row of its own for volumes without one, in which everything is missing.
    taken = TAKEN.union(*({spec.name, *spec.dims} for spec in store.header.arrays))
    columns = typed.reindex(np.array(rows)).reset_index(drop=True)
    columns = columns.set_axis(_names(list(typed.columns), taken), axis=1)
    alone = sum(row < 0 for row in rows)
    notes = [f"{alone} of {len(rows)} volumes have no row in {table.path.name}"] if alone else []
    return Source(store, columns, run, notes)


def config_of(place: Path) -> Path | None:
    """The configuration of a run folder or of a verb's folder in it; None where it is neither."""
    folders = [place, *(place / verb for verb in VERBS)]
    found = [one / CONFIG for one in folders if (one / METRICS_FILE).is_file() and (one / CONFIG).is_file()]
    # An explanation's own says of which bundle it is, and its training's lies beside.
    found.sort(key=lambda path: path.parent.name in ("explain", "evaluate"))
    return found[0] if found else None


def plain_text(text: str) -> str:
    """A text that every format can hold.

    Raises:
        SlicecacheError: If it has a null character, or is no Unicode.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SlicecacheError(f"{text!a:.80} is no Unicode text, which no other program reads") from None
    if "\0" in text:
        raise SlicecacheError(f"{text!a:.80} holds a null character, which ends a text in other programs")
    return text


def text_column(values: "pd.Series[Any]") -> list[str | None]:
    """A column of text, None where missing.

    Raises:
        SlicecacheError: As `plain_text`.
    """
    return [
        None if gone else plain_text(str(value)) for value, gone in zip(values, values.isna(), strict=True)
    ]


def _names(columns: Sequence[Any], taken: set[str]) -> list[str]:
    """Column names that every format takes, each once, and none that is taken."""
    found: dict[str, None] = {}
    for column in columns:
        name = UNSAFE.sub("_", str(column)).strip(".") or "column"
        name = f"{name}_of_table" if name in taken else name
        ways = (name, *(f"{name}_{number}" for number in range(2, len(columns) + 2)))
        found[next(way for way in ways if way not in found)] = None
    return list(found)
