"""What a fuzz target is, and where targets are found.

A module of `targets/` that has `TARGETS` is run by `test_fuzz.py` and by `benchmarks/fuzz.py`. A target is
one parser: some valid inputs, a call, and the errors that it may end with.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import SlicecacheError, VolumeError

Files = dict[str, bytes]
"""One input: names relative to a folder, `/` between steps -> bytes. Mutators go by the ending."""

ARCHIVE = Path(__file__).parents[1] / "data" / "v1"


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    seeds: Callable[[], Sequence[Files]]
    """Valid inputs, each of which `parse` accepts; small ones, since each is written for every case."""
    parse: Callable[[Path], object]
    """Reads what lies in a folder."""
    modules: tuple[str, ...]
    """The parser's own modules, whose functions' lines are counted."""
    reseal: Callable[[Files], Files] | None = None
    """Makes the hashes inside an input right again; done in half of the cases, or all stops at the hash."""
    refusals: tuple[type[Exception], ...] = (SlicecacheError, VolumeError)
    """What a refusal is, with one sentence; everything else is a fault."""

    def __str__(self) -> str:
        return self.name


def all_targets() -> dict[str, Target]:
    """Every target by its name."""
    found: dict[str, Target] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "targets")]):
        for target in importlib.import_module(f"fuzz.targets.{module.name}").TARGETS:
            if found.setdefault(target.name, target) is not target:
                raise ValueError(f"two targets are called {target.name!r}")
    return found


def files_of(folder: Path, *names: str) -> Files:
    """Files of a folder as an input; all of them where no names are given."""
    paths = [folder / name for name in names] or sorted(p for p in folder.rglob("*") if p.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
