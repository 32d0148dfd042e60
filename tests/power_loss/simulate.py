"""Power failures at any place of a recording: what is lost, torn or not repaired afterwards."""

import os
import random
import re
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from power_loss import recording, scenario
from power_loss.disk import Disk, Luck, replay
from power_loss.recording import Event, Mark, Synced

from cache_schema.common.errors import SlicecacheError
from cache_schema.files.disk.unfinished import unfinished_in
from cache_schema.move.copying import whole_volume
from cache_schema.store.packed import MARK
from cache_schema.store.reader import open_store
from cache_schema.verify.verify import verify_store

ROOT = Path(__file__).parents[2]
PLACE = re.compile(r"run(/(\.cache\.zarr\.(?P<phase>[a-z]+)~[^/]*|cache\.zarr)(/(?P<rest>.*))?)?")
KINDS = (
    (r"\w+/c\..*", "chunks"),
    (r"\w+/zarr\.json", "array metadata"),
    (r"records/..", "names of records"),
    (r"records/../.*", "records"),
    (r"previews/..", "names of previews"),
    (r"previews/../.*", "previews"),
    (r"table/.*", "table"),
    (r"sealed/.*", "seal"),
    (r"table|sealed|packed|records|previews|failures|tmp", r"names in \g<0>"),
    (r"\w+", "names of chunks"),
)
"""What a synced file or folder of a store is for, by its name in there."""

NEEDLESS = {
    r".*previews.*": "previews are promised to nobody",
    r".*names in tmp": "nothing rests on an unfinished name",
    r"creation: names in table": "they are waited for once more when the store is opened",
    r"pack: packed\.json": "that it is there says all",
    r".*(failures\.tsv|seen\.json).*": "the next extraction makes them again",
}
"""What a failure may take without a loss, so that nothing shows when these syncs are left out; and why."""


@dataclass(frozen=True)
class Recording:
    """A run that was recorded, and how it ended."""

    base: Path
    """Images in their last state, the pipeline, and a `disk` to write to."""
    events: list[Event]
    digest: str
    """Content digest of an undisturbed extraction of these images."""


def make_recording(folder: Path, *how: str) -> Recording:
    """Record the scenario, and extract its images once more undisturbed.

    Raises:
        AssertionError: If the replayed recording is not what lies on the disk in the end.
    """
    base, marks, log = folder / "base", folder / "marks", folder / "log"
    base.mkdir(parents=True)
    scenario.write_cohort(base)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    script = str(Path(__file__).with_name("scenario.py"))
    recording.record([sys.executable, script, str(base), str(marks), *how], log, environment)
    events = recording.read(log, base / "disk", marks)
    log.unlink()
    replay(events, len(events)).after_failure(folder / "whole", Luck(random.Random(0), 1.0, ("whole",)))
    assert _contents(folder / "whole") == _contents(base / "disk")
    shutil.rmtree(base / "disk")
    (base / "disk").mkdir()
    scenario.all_later(base)
    scenario.command(base, "extract")
    digest = open_store(base / scenario.STORE).content_digest()
    assert digest == open_store(folder / "whole" / "run" / "cache.zarr").content_digest()
    return Recording(base, events, digest)


def _contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def fail(made: Recording, disk: Disk, luck: Luck) -> list[str]:
    """Let the power go: what the disk may hold then lies in `disk` afterwards; what is lost or torn."""
    shutil.rmtree(made.base / "disk")
    disk.after_failure(made.base / "disk", luck)
    return faults(made, promised(disk.marks), sealed=bool(disk.marks) and disk.marks[-1].startswith("sealed"))


def promised(marks: list[str]) -> dict[str, str]:
    """Digest by key of what was committed and is not being replaced."""
    volumes: dict[str, str] = {}
    for mark in marks:
        match mark.split():
            case ["committed", key, digest]:
                volumes[key] = digest
            case ["replacing", key]:
                volumes.pop(key, None)
    return volumes


def faults(made: Recording, volumes: dict[str, str], *, sealed: bool) -> list[str]:
    """What is lost or torn of what was promised."""
    store = made.base / scenario.STORE
    if not store.exists():
        return ["there is no store"] if volumes else []
    try:
        reader = open_store(store)
        entries = {str(entry.key): entry for entry in reader.entries}
        if sealed and not reader.sealed:
            return ["the seal is lost"]
        found = [f"{key} is lost" for key, digest in volumes.items() if key not in entries]
        found += [
            f"{key} is an old one" for key, e in entries.items() if volumes.get(key, e.digest) != e.digest
        ]
        for entry in entries.values():
            whole_volume(reader, entry)
        problems = verify_store(str(store)).problems
    except SlicecacheError as error:
        return [str(error)]
    return found + [f"{p.volume} {p.array}: {p.problem}" for p in problems]


def repair(made: Recording) -> list[str]:
    """Extract again; what is not as in an undisturbed extraction then."""
    store = made.base / scenario.STORE
    try:
        if (store / MARK).exists():
            scenario.command(made.base, "unpack")
        scenario.command(made.base, "extract", "--replace")
        digest, problems = open_store(store).content_digest(), verify_store(str(store), full=True).problems
    except (SystemExit, SlicecacheError) as error:
        return [f"not repaired: {error}"]
    found = [f"after the repair: {p.volume} {p.array}: {p.problem}" for p in problems]
    found += [f"not swept: {path}" for path in unfinished_in(store)]
    return found if digest == made.digest else [*found, "another content digest"]


def one_failure(made: Recording, rng: random.Random) -> tuple[dict[str, str], list[str]]:
    """A failure at a random place: the volumes that were promised then, and everything that is wrong."""
    stop = rng.randrange(len(made.events) + 1)
    disk = replay(made.events, stop)
    found = fail(made, disk, Luck(rng, rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))))
    return promised(disk.marks), found + repair(made)


def sync_places(made: Recording) -> dict[str, list[int]]:
    """Places of the syncs in the recording, by what they make safe."""
    disk = replay(made.events, len(made.events))
    places = defaultdict(list)
    for place, node in disk.synced.items():
        event = made.events[place]
        assert isinstance(event, Synced)
        path = event.path if node.folder else node.known_as
        # The phase is that of the moment: a store's own folder is renamed later.
        places[_label(path, event.path)].append(place)
    return dict(places)


def _label(path: str, then: str) -> str:
    """What a sync makes safe, in words."""
    match = PLACE.fullmatch(path)
    if match is None or match["rest"] is None:
        above = match is None or match[1] is None
        if above:
            return "the store's name" if path == "run" else f"names above ({path or '/'})"
    rest = (match and match["rest"]) or ""
    phase = PLACE.fullmatch(then)
    when = {"creating": "creation", "rebuilding": "pack"}.get((phase and phase["phase"]) or "", "writing")
    for pattern, words in KINDS:
        if found := re.fullmatch(pattern, rest):
            return f"{when}: {found.expand(words)}"
    return f"{when}: {rest or 'names in the store'}"


def needless(what: str) -> bool:
    """Whether a failure may take this."""
    return any(re.fullmatch(pattern, what) for pattern in NEEDLESS)


def loss_without(made: Recording, places: list[int], rng: random.Random) -> list[str]:
    """Take syncs out of the recording and look for a failure that shows it; nothing when none does.

    The failures come just after each of these syncs, just before the next promise, and at every step from
    the first of them to the next rename of a folder; what it would have made safe is lost each time.
    """
    events = made.events
    marks = [n + 1 for n, event in enumerate(events) if isinstance(event, Mark) and n > places[0]]
    stops = [place + 1 for place in places] + marks + list(range(places[0] + 1, places[0] + 60))
    for stop in dict.fromkeys(stop for stop in stops if stop <= len(events)):
        disk = replay(events, stop, places)
        culprits = [node for place, node in disk.synced.items() if place in disk.without and node.folder]
        for names in (1.0, 0.0):
            found = fail(made, disk, Luck(rng, names, ("lost",), culprits))
            if found:
                return found
    return []
