"""Whether what a volume was made from is still what it was: cheap facts first, bytes where these differ.

A record is never rewritten for a file that only moved (its store may be read-only or sealed, and its hash is
quoted elsewhere). So that a copied data folder is digested once and not at every resume, digests of files
whose facts are not the record's are remembered beside `failures.tsv`. That memory is a hint, and no more: a
file whose facts differ from it is read, one that cannot be parsed is left aside, `--check-hashes` asks none.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from cache_schema.common.machine import machine_said
from cache_schema.files.disk.whole import replacing
from cache_schema.format.inputs import InputFile, Inputs, differing_inputs
from cache_schema.format.record import VolumeRecord
from extract.sources.candidate import Candidate
from extract.volume.inputs import TICK_NS, Facts, digest_of, facts_of, input_file, input_paths, inputs_of

SEEN = "seen.json"


@dataclass(slots=True)
class Changes:
    """Compares candidates with their records, and counts what it could not know."""

    memory: Path
    """Where digests are remembered."""
    check_hashes: bool = False
    """Read all bytes of everything."""
    unrecorded: int = 0
    """Volumes whose records do not say what they were made from."""
    digested: int = 0
    """Bytes that were read."""
    _seen: dict[str, list[object]] = field(default_factory=dict)
    _fresh: bool = False

    @classmethod
    def against(cls, memory: Path, check_hashes: bool) -> "Changes":
        """Begin with what is remembered."""
        if check_hashes:
            digest_of.cache_clear()
            return cls(memory, check_hashes)
        return cls(memory, check_hashes, _seen=_remembered(memory))

    def of(self, candidate: Candidate, record: VolumeRecord) -> list[str]:
        """What of a committed volume is otherwise than it was, in words.

        Raises:
            OSError: If a file is gone or cannot be read.
        """
        if record.inputs is None:
            return self._of_old(candidate, record)
        return differing_inputs(record.inputs, self._inputs(candidate, record.inputs))

    def notes(self) -> list[str]:
        """What could not be known, said once."""
        if not self.unrecorded:
            return []
        if self.check_hashes:
            return [
                f"{self.unrecorded} volumes were embedded before inputs were recorded: their images were "
                "checked; whether a mask's voxels, a .hdr or spacing_mm are what they were nobody can tell"
            ]
        return [
            f"{self.unrecorded} volumes were embedded before inputs were recorded; --check-hashes decides"
        ]

    def remember(self) -> None:
        """Keep the digests that were made, so that the next resume need not read the files again.

        Raises:
            MachineError: If the run folder cannot be written.
        """
        if not self._fresh:
            return
        with machine_said("write", self.memory):
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.memory) as beside:
                beside.write_text(json.dumps(self._seen), encoding="utf-8")

    def _inputs(self, candidate: Candidate, before: Inputs) -> Inputs:
        """A candidate's inputs now; a file with the facts of the record has its digest."""
        files: dict[str, InputFile] = {}
        for role, path in input_paths(candidate).items():
            facts, known = facts_of(path), before.files.get(role)
            if known is not None and known.facts == facts and not self.check_hashes:
                files[role] = known
            else:
                files[role] = input_file(facts, self._digest(path, facts))
        return inputs_of(candidate, files)

    def _of_old(self, candidate: Candidate, record: VolumeRecord) -> list[str]:
        """By a record from before: its image alone, and with `check_hashes` what else it implies."""
        self.unrecorded += 1
        facts, source = facts_of(candidate.path), record.source
        if not self.check_hashes and facts[:2] == (source.bytes, source.mtime_ns):
            return []
        same = facts[0] == source.bytes and self._digest(candidate.path, facts) == source.sha256
        found = [] if same else ["file"]
        if self.check_hashes:
            masked = candidate.foreground_path is not None
            if masked != (record.foreground.kind == "mask"):
                found.append(f"foreground mask (none {'then' if masked else 'now'})")
            stated, was = candidate.orientation, record.geometry.orientation
            if stated and stated != was:
                found.append(f"stated orientation ({was!r} then, {stated!r} now)")
        return found

    def _digest(self, path: Path, facts: Facts) -> str:
        """From memory or from the bytes."""
        remembered = self._seen.get(str(path))
        if remembered is not None and remembered[:4] == list(facts) and isinstance(remembered[-1], str):
            return remembered[-1]
        self.digested += facts[0]
        found = digest_of(path, facts)
        if time.time_ns() - facts[2] > TICK_NS:  # a file written just now may change and keep its facts
            self._seen[str(path)] = [*facts, found]
            self._fresh = True
        return found


def _remembered(memory: Path) -> dict[str, list[object]]:
    """What is remembered; nothing where that cannot be read."""
    try:
        found = json.loads(memory.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {path: each for path, each in found.items() if isinstance(each, list) and len(each) == 5}
