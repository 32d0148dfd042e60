"""Reading proves: numbers that are read are held to what the record of their volume says of them.

A chunk's own checksum says that it is whole, and not whose it is: two chunks that changed places are whole
both. What a record says is seeded with key and array (`format/digests/proof.py`), so only the numbers that
were committed there come to it. The crc32c costs next to nothing, since the pass over a chunk that its own
checksum needs gives both; the SHA-256 is taken once per volume and array of an open store.
"""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache_schema.common.prove import Prove
from cache_schema.files.chunks.chunk import DamageError
from cache_schema.files.chunks.pieces import RowDamageError
from cache_schema.format.digests.crc import crc32c, shifted
from cache_schema.format.digests.digest import volume_digest
from cache_schema.format.digests.proof import array_sha256, array_text, key_text, seed, seeded
from cache_schema.format.header import ArraySpec
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import ArrayLayout, item_bytes
from cache_schema.format.record import VolumeRecord
from cache_schema.store.reading.entries import VolumeEntry
from cache_schema.store.reading.listing import NONE, Listing

UNPROVEN = -2
"""In a column of checksums: nothing is there to hold the numbers to."""
FOREIGN = (
    "its numbers are not those that were committed ({how}): a chunk was swapped, or put back from another "
    "time or place"
)

ReadWhole = Callable[[str, VolumeEntry], NDArray[Any]]
"""Reads the kept slices of a volume's array, `(slice, *rest)`, held to the checksums of its chunks alone."""


class Proofs:
    """What the kept bytes of every volume's arrays must come to, and what was found out so far."""

    def __init__(
        self,
        location: str,
        specs: Sequence[ArraySpec],
        listing: Listing,
        prove: Prove,
        record: Callable[[VolumeKey], VolumeRecord],
        read_whole: ReadWhole,
    ) -> None:
        """Hold what the store states; `record` and `read_whole` give more of a volume."""
        self._location, self._entries, self._prove = location, listing.entries, prove
        self._specs = {spec.name: spec for spec in specs}
        self._stated = listing.crc32c
        self._record, self._read_whole = record, read_whole
        self._expected = {name: np.full(len(listing.entries), NONE) for name in self._specs}
        self._blocks: dict[tuple[str, int], Sequence[int]] = {}
        self._flat = all(len(spec.item_shape) == 1 for spec in specs)
        self._told = False

    def hold_volumes(
        self, name: str, places: NDArray[np.int64], values: NDArray[Any], found: NDArray[np.int64]
    ) -> None:
        """Hold whole volumes to what their records say.

        Args:
            name: The array.
            places: Of the volumes among the entries.
            values: `(volume, slice, *rest)`.
            found: The crc32c of each volume's kept bytes.

        Raises:
            RowDamageError: If the numbers are not those that were committed.
        """
        expected = self._expect(name, places)
        wrong = np.flatnonzero((expected >= 0) & (expected != found))
        if len(wrong):
            raise RowDamageError(int(wrong[0]), FOREIGN.format(how="crc32c"))
        for position in np.flatnonzero(expected == NONE).tolist():
            place = int(places[position])
            kept = values[position, : self._entries.n_slices[place]]
            try:
                self._hold_strongly(name, place, kept, int(found[position]))
            except DamageError as damage:
                raise RowDamageError(position, str(damage)) from damage

    def hold_blocks(self, layout: ArrayLayout, place: int, found: Mapping[int, int]) -> None:
        """Hold some blocks of a volume to what its record says.

        Args:
            layout: Of the array.
            place: Of the volume among the entries.
            found: By block, the crc32c of its kept bytes.

        Raises:
            DamageError: If the numbers are not those that were committed.
        """
        name = layout.spec.name
        expected = self._blocks.get((name, place))
        if expected is None:
            self._blocks[name, place] = expected = self._block_checksums(layout, place)
        for block, crc in found.items():
            if expected and expected[block] != crc:
                raise DamageError(f"block {block}: " + FOREIGN.format(how="crc32c"))

    def _expect(self, name: str, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What kept bytes must come to by themselves; `NONE` or `UNPROVEN` where that is not known."""
        column, stated = self._expected[name], self._stated[name]
        if self._prove == "crc32c":
            new = np.unique(places[(column[places] == NONE) & (stated[places] >= 0)])
            column[new] = stated[new] ^ self._seeds(name, new)
        return column[places]

    def _seeds(self, name: str, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the seeds of volumes contribute to their checksums."""
        spec, entries = self._specs[name], self._entries
        out = np.zeros(len(places), dtype=np.int64)
        lengths = entries.n_slices[places]
        for n in np.unique(lengths).tolist():
            which, text = np.flatnonzero(lengths == n), array_text(spec, n)
            crcs = [
                google_crc32c.value(
                    key_text(entries.participant_id[at], entries.session_id[at], entries.volume_id[at]) + text
                )
                for at in places[which].tolist()
            ]
            out[which] = shifted(np.array(crcs, dtype=np.int64), n * item_bytes(spec))
        return out

    def _hold_strongly(self, name: str, place: int, kept: NDArray[Any], crc: int) -> None:
        """Hold a volume to a SHA-256, of its array or of the whole volume, and remember what it comes to.

        Raises:
            DamageError: If it differs.
        """
        entry = self._entries[place]
        if self._stated[name][place] >= 0:
            proof = self._record(entry.key).arrays[name]
            if array_sha256(entry.key, self._specs[name], kept) != proof.sha256:
                raise DamageError(FOREIGN.format(how="SHA-256"))
            self._expected[name][place] = crc
        elif self._flat or self._prove == "sha256":
            others = {other: self._read_whole(other, entry) for other in self._specs if other != name}
            if volume_digest(entry.key, others | {name: kept}) != entry.digest:
                raise DamageError(FOREIGN.format(how="the volume digest, over all of its arrays"))
            for other, values in others.items():
                self._expected[other][place] = crc32c(values)
            self._expected[name][place] = crc
        else:
            self._expected[name][place] = UNPROVEN
            self._say_unproven()

    def _block_checksums(self, layout: ArrayLayout, place: int) -> Sequence[int]:
        """What each block of a volume must come to by itself; empty where nothing says so."""
        name, spec, entry = layout.spec.name, layout.spec, self._entries[place]
        step, n, item = layout.chunk_slices, entry.n_slices, item_bytes(layout.spec)
        if self._prove == "crc32c" and self._stated[name][place] >= 0:
            proof = self._record(entry.key).arrays[name]
            if layout.blocks(n) == 1:
                return [seeded(seed(entry.key, spec, n), 0, n * item) ^ proof.crc32c]
            if proof.block_slices == step and len(proof.blocks) == layout.blocks(n):
                return [
                    seeded(seed(entry.key, spec, n, first), 0, min(step, n - first) * item) ^ crc
                    for first, crc in zip(range(0, n, step), proof.blocks, strict=True)
                ]
        elif self._prove == "crc32c" and not self._flat:
            self._say_unproven()
            return ()
        # No checksums of these blocks: the volume is proven as a whole, and they are taken from it.
        kept = self._read_whole(name, entry)
        self.hold_volumes(name, np.array([place]), kept[None], np.array([crc32c(kept)]))
        return [crc32c(kept[first : first + step]) for first in range(0, n, step)]

    def _say_unproven(self) -> None:
        """Say once that numbers of this store cannot be proven."""
        if self._told:
            return
        self._told = True
        sentence = (
            f"{self._location}: some volumes are unproven: they were committed before records proved their "
            "arrays, so chunks are held to their own checksums alone; --prove sha256 reads such volumes whole"
        )
        logging.getLogger("slicecache").info(sentence)
        print(f"WARNING: {sentence}", file=sys.stderr)
