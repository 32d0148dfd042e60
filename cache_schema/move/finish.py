"""The end of an extraction by many processes: is all there, is it right, then sealed and packed.

Each step rests on the one before. A volume that failed is answered for (its reason is in the store) and does
not keep a store from being sealed; it does keep it from being packed, since a packed store takes no volume
that somebody mends tomorrow.
"""

from dataclasses import dataclass
from typing import Any

from cache_schema.common.problem import Problem
from cache_schema.common.terminal.progress import bar
from cache_schema.common.text.counts import counted
from cache_schema.files.locate import open_objects
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Failure
from cache_schema.move.pack import pack as pack_store
from cache_schema.store.packed import is_packed
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.seal import seal
from cache_schema.verify.verify import verify_store

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Finish:
    """How far a store came."""

    location: str
    planned: int
    """Volumes of the table."""
    committed: int
    missing: tuple[VolumeKey, ...]
    """Neither committed nor failed: nobody came to them."""
    failed: tuple[Failure, ...]
    problems: tuple[Problem, ...]
    sealed: bool
    packed: bool
    content_digest: str

    @property
    def ok(self) -> bool:
        """Whether every volume is there and nothing is wrong with any."""
        return not (self.missing or self.failed or self.problems)

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return {
            "ok": self.ok,
            "store": self.location,
            "planned": self.planned,
            "committed": self.committed,
            "missing": [str(key) for key in self.missing],
            "failed": [{"volume": str(failure.key), "reason": failure.reason} for failure in self.failed],
            "problems": [
                {"volume": str(problem.volume), "array": problem.array, "problem": problem.problem}
                for problem in self.problems
            ],
            "sealed": self.sealed,
            "packed": self.packed,
            "content_digest": self.content_digest,
        }

    def in_words(self) -> str:
        """What is there, what is not, and what to do."""
        state = "packed" if self.packed else "sealed" if self.sealed else "not sealed"
        lines = [
            f"{self.location}: {self.committed} of {counted(self.planned, 'volume')}, {state}",
            f"  content digest {self.content_digest}",
        ]
        groups = (
            ("missing", [str(key) for key in self.missing], "the same extraction again embeds them"),
            (
                "failed",
                [f"{failure.key}: {failure.reason}" for failure in self.failed],
                "mend their files and extract again, or leave them out; the rest is sealed"
                if self.sealed
                else "",
            ),
            (
                "damaged",
                [
                    f"{problem.volume or 'the store'} {problem.array}: {problem.problem}"
                    for problem in self.problems
                ],
                "`slicecache cache verify` says more",
            ),
        )
        for name, rows, advice in groups:
            if rows:
                lines.append(f"{len(rows)} {name}" + (f": {advice}" if advice else ""))
                lines += [f"  {row}" for row in rows[:SHOWN]]
                lines += [f"  and {len(rows) - SHOWN} more, which --json lists"] * (len(rows) > SHOWN)
        return "\n".join(lines)


def finish_store(location: str, pack: bool = True) -> Finish:
    """Check that every planned volume is there, verify the store, seal it and pack it; it may be done again.

    Args:
        location: A folder.
        pack: Whether to gather it in few large files, where every volume is there.

    Raises:
        StoreError: If there is no store, or it is written to meanwhile.
        MachineError: If there is no room to pack it; it is sealed then.
    """
    reader = open_store(location)
    packed = _packed(location)
    missing, failed = _left(reader)
    problems: tuple[Problem, ...] = ()
    sealed = reader.sealed
    if not missing:
        with bar("verifying") as progress:
            problems = verify_store(location, progress).problems
        if not problems and not sealed:
            seal(location)
            sealed = True
        if pack and not (packed or failed or problems):
            reader, packed = pack_store(location), True
    return Finish(
        location,
        len(reader.table()),
        len(reader.entries),
        missing,
        failed,
        problems,
        sealed,
        packed,
        reader.content_digest(),
    )


def _packed(location: str) -> bool:
    objects = open_objects(location)
    return objects is not None and is_packed(objects)


def _left(reader: StoreReader) -> tuple[tuple[VolumeKey, ...], tuple[Failure, ...]]:
    """What nobody came to, and what failed and was not committed since."""
    there = {entry.key for entry in reader.entries}
    failed = tuple(failure for failure in reader.failures() if failure.key not in there)
    answered = there | {failure.key for failure in failed}
    return tuple(sorted(row.key for row in reader.table() if row.key not in answered)), failed
