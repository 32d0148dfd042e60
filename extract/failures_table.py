"""`failures.tsv`: one row per volume that could not be used, of one process or gathered from many."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cache_schema.common.machine import machine_said
from cache_schema.common.text.cells import safe_cell
from cache_schema.files.disk.whole import replacing
from cache_schema.format.record import Failure
from extract.planning.plan import ExtractionPlan
from extract.planning.shard import Shard

FAILURE_COLUMNS = ("participant_id", "session_id", "volume_id", "path", "reason")
STORE = "store"
"""A last column, where a run makes several stores."""
SHARDS = "shards"
"""Folder of the run folder's `extract/` with a table for each share."""


def as_given(failures: Iterable[Failure], plan: ExtractionPlan) -> list[Failure]:
    """Failures sorted by key, with the paths that the user gave; the store has their private form."""
    shown = {volume.candidate.key: volume.candidate.shown for volume in plan.volumes}
    return [
        failure.model_copy(update={"path": shown[failure.key]})
        for failure in sorted(failures, key=lambda failure: failure.key)
    ]


def write_failures(path: Path, failures: Mapping[str, Sequence[Failure]]) -> None:
    """One row per volume that could not be used, with the reason; only the header when there is none.

    Args:
        path: The table.
        failures: By name of the store; the column `store` is there where several are.
    """
    several = len(failures) > 1
    rows = [(failure, name) for name, each in failures.items() for failure in each]
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow((*FAILURE_COLUMNS, *[STORE] * several))
        for failure, name in sorted(rows, key=lambda row: row[0].key):
            cells = [" ".join(str(getattr(failure, column)).split()) for column in FAILURE_COLUMNS]
            table.writerow(map(safe_cell, (*cells, *[name] * several)))


def write_shard_failures(run_folder: Path, shard: Shard, failures: Mapping[str, Sequence[Failure]]) -> Path:
    """The rows of one share, and `failures.tsv` anew of all shares that have ended so far; its path.

    Shares end at the same time: whoever finds after its write that another came meanwhile gathers again, so
    that the last one to write has seen all.
    """
    folder, table = run_folder / "extract" / SHARDS, run_folder / "failures.tsv"
    write_failures(folder / f"{shard.index}-of-{shard.count}.tsv", failures)
    seen: list[tuple[str, int]] | None = None
    while seen != (there := _shares(folder, shard.count)):
        seen = there
        _gather(folder, [name for name, _ in there], table)
    return table


def _shares(folder: Path, count: int) -> list[tuple[str, int]]:
    """Tables of a division into so many shares, each with the time of its last write."""
    with machine_said("read", folder):
        found = sorted(folder.glob(f"*-of-{count}.tsv"), key=lambda path: int(path.name.partition("-")[0]))
        return [(path.name, path.stat().st_mtime_ns) for path in found]


def _gather(folder: Path, names: Sequence[str], table: Path) -> None:
    """All rows of some tables, in their order, under one header: the longest, for those of one store."""
    tables = [(folder / name).read_text(encoding="utf-8").splitlines() for name in names]
    header = max((lines[0] for lines in tables), key=len)
    with replacing(table) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        stream.write(f"{header}\n")
        for first, *rows in tables:
            lacking = "\t" * (header.count("\t") - first.count("\t"))
            stream.writelines(f"{row}{lacking}\n" for row in rows)
