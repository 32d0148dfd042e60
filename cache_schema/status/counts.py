"""How many volumes are committed, failed and left, by the names of objects alone.

A hundred thousand records are listed in a second and opened in a minute. So the table says which volumes
there are and how many slices each has at most; how many are kept of these is taken from a few records.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import Objects
from cache_schema.files.remote.objects import get_all
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import FAILURES, RECORDS
from cache_schema.store.commit import parse_raw
from cache_schema.store.packed import packed_lines
from cache_schema.store.seal import read_sealed_index
from cache_schema.store.table import VolumeTable, read_volume_table
from cache_schema.store.withdrawn import Tombstones, read_tombstones

SAMPLE = 64
"""Records that are opened."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a store is; `planned` is the sum of the three."""

    committed: int
    failed: int
    left: int
    slices_left: float
    """An estimate: what the table bounds, times the share that committed volumes kept of their bounds."""
    sealed: bool
    failures: tuple[str, ...]
    """Names of the objects that say why volumes failed."""

    @property
    def planned(self) -> int:
        """Volumes of the table, and those that planning refused."""
        return self.committed + self.failed + self.left


class Planned:
    """The volumes of a table, by key hash; kept from look to look, since it rarely changes."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._table = VolumeTable()
        self._tombstones = Tombstones()
        self.max_slices: Mapping[str, int] = {}
        """Most slices of each volume, by key hash."""

    def look(self, objects: Objects) -> None:
        """Read what is new.

        Raises:
            StoreError: If the table or a tombstone is damaged.
        """
        table = read_volume_table(objects, self._table)
        tombstones = read_tombstones(objects, self._tombstones)
        if table is not self._table or tombstones is not self._tombstones:
            rows = (row for row in table.volumes() if not tombstones.hold(row.participant_id))
            self.max_slices = {row.key.digest: row.max_slices for row in rows}
            self._table, self._tombstones = table, tombstones


def count(objects: Objects, planned: Planned) -> Counts:
    """Count the volumes of a store whose header was read.

    Failures are listed before records: a volume that is committed meanwhile loses its failure after it has
    its record, and so is never in neither.

    Raises:
        StoreError: If the table or the sealed index is damaged.
    """
    planned.look(objects)
    of_table = planned.max_slices
    names = objects.list(FAILURES)
    index = read_sealed_index(objects)
    if index is not None:
        keys = zip(index.participant_id, index.session_id, index.volume_id, strict=True)
        committed = {VolumeKey(*key).digest for key in keys} & of_table.keys()
    else:
        committed = (_stems(objects.list(RECORDS)) | packed_lines(objects).keys()) & of_table.keys()
    failures = tuple(name for name in names if _stem(name) not in committed)
    left = of_table.keys() - committed - _stems(failures)
    at_most = sum(of_table[digest] for digest in left)
    share = kept_share(_sample(objects, of_table, sorted(committed))) if left else 1.0
    return Counts(
        committed=len(committed),
        failed=len(failures),
        left=len(left),
        slices_left=at_most * share,
        sealed=index is not None,
        failures=failures,
    )


def kept_share(sample: Iterable[tuple[int, int]]) -> float:
    """Which share of their bounds volumes kept, given (kept slices, bound) of some; 1 where none is known."""
    pairs = list(sample)
    kept, bound = sum(kept for kept, _ in pairs), sum(bound for _, bound in pairs)
    return kept / bound if bound else 1.0


def _sample(
    objects: Objects, of_table: Mapping[str, int], digests: Sequence[str]
) -> Iterable[tuple[int, int]]:
    """(kept slices, bound) of some committed volumes; hashes are random, and so is every so-manyth."""
    some = digests[:: max(1, len(digests) // SAMPLE)][:SAMPLE]
    lines = packed_lines(objects)
    names = [f"{RECORDS}/{digest[:2]}/{digest}.json" for digest in some]
    for name, data in get_all(objects, names, lenient=True):
        digest = _stem(name)
        with suppress(StoreError):  # `verify` names what is damaged
            raw = parse_raw(data or lines.get(digest, b""), name)
            yield len(raw["slices"]["index"]), of_table[digest]


def _stem(name: str) -> str:
    """The key hash in an object's name."""
    return name.rpartition("/")[2].removesuffix(".json")


def _stems(names: Iterable[str]) -> set[str]:
    return {_stem(name) for name in names}
