"""Pooling what centres send: whatever a store says or lacks, nobody comes back and nothing passes."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attacks.scene import Answer, Attack, Scene, run
from attacks.scene_foreign import Spoil, array, first, header, link, nothing_made, record, set_, table
from attacks.scene_hostile import edit, previews, records
from cache_schema.format.layout import tombstone_name
from cache_schema.store.reader import open_store

WHO = "sub-03"
NONSENSE = {"compute_dtype": "float16", "storage_dtype": "float16", "resize_backend": "x"}


def with_sound(spoil: Spoil, *flags: str) -> Callable[[Scene], Sequence[str]]:
    """A spoilt store and a sound one, to be merged."""

    def arrange(scene: Scene) -> Sequence[str]:
        path = scene.archived("unsealed.zarr")
        spoil(scene, path)
        return [str(path), str(scene.archived("sealed.zarr")), "--out", str(scene.folder / "out"), *flags]

    return arrange


def cut(spoil: Spoil, *flags: str) -> Callable[[Scene], Sequence[str]]:
    """A part of a spoilt store."""

    def arrange(scene: Scene) -> Sequence[str]:
        path = scene.archived("unsealed.zarr")
        spoil(scene, path)
        given = (flag.format(scene=scene.folder) for flag in flags)
        return [str(path), str(scene.folder / "out"), *given]

    return arrange


def untouched(scene: Scene, path: Path) -> None:
    """Nothing is spoilt: the arguments are."""


def numerics(change: dict[str, str]) -> Spoil:
    return header(lambda found: found["numerics"].update(change))


def exchanged(scene: Scene, path: Path) -> None:
    """Two volumes' chunks changed places."""
    one, other = path / "cls" / "c.0.0.0", path / "cls" / "c.1.0.0"
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def renamed(new: str) -> Spoil:
    """A participant under another spelling, everywhere that a name stands."""

    def spoil(scene: Scene, path: Path) -> None:
        def change(found: dict[str, Any]) -> None:
            for row in found["rows"]:
                row.update(participant_id=new if row["participant_id"] == WHO else row["participant_id"])

        edit(path / "table" / "000000.json", change)
        mine = next(p for p in records(path) if json.loads(p.read_bytes())["participant_id"] == WHO)
        mine.unlink()

    return spoil


def withdrawn_here(scene: Scene, path: Path) -> None:
    assert run("cache remove", [str(path), WHO]).code == 0


def stays_out(scene: Scene, answer: Answer) -> None:
    store = open_store(str(scene.folder / "out"))
    assert WHO not in {entry.key.participant_id for entry in store.entries}
    assert WHO not in {row.participant_id for row in store.table()}
    assert store.tombstones().hold(WHO)
    assert run("cache verify", ["--full", store.location]).code == 0


def other_tombstone(scene: Scene, path: Path) -> None:
    """A tombstone with the name of a sound store's, which would take its place."""
    withdrawn_here(scene, scene.archived("sealed.zarr"))
    theirs = next((scene.folder / "sealed.zarr" / "withdrawn").iterdir())
    said = json.loads(theirs.read_bytes()) | {"salt": "0" * 64}
    target = path / tombstone_name(said["participant_sha256"])
    target.parent.mkdir()
    target.write_text(json.dumps(said))


def spoilt_tombstone(scene: Scene, path: Path) -> None:
    withdrawn_here(scene, path)
    next((path / "withdrawn").iterdir()).write_text("{}")


def odd_provenance(scene: Scene, path: Path) -> None:
    """What says that it was merged, of things that are no provenance."""
    edit(
        path / "header.json",
        set_("created", {"merged": [["x"], 3, None, {"merged": [{"merged": "\x1b[2J"}]}]}),
    )


def quiet(scene: Scene, answer: Answer) -> None:
    told = run("cache inspect", [str(scene.folder / "out")])
    assert told.code == 0
    assert "\x1b" not in told.text


def taken(scene: Scene, path: Path) -> None:
    (scene.folder / "out").mkdir()
    (scene.folder / "out" / "mine").write_text("x")


def still_mine(scene: Scene, answer: Answer) -> None:
    assert os.listdir(scene.folder / "out") == ["mine"]


def inside(scene: Scene) -> Sequence[str]:
    path = scene.archived("unsealed.zarr")
    return [str(path), "--out", str(path / "merged")]


def fifo(scene: Scene, path: Path) -> None:
    os.mkfifo(scene.folder / "who.tsv")


def table_of_people(data: bytes) -> Spoil:
    return lambda scene, path: (scene.folder / "who.tsv").write_bytes(data)


def other_numbers(scene: Scene, path: Path) -> None:
    """Another study's volume under an id that a sound store has: all of its hashes are right."""
    assert run("cache subset", [str(path), str(scene.folder / "p"), "--participants", WHO]).code == 0
    edit(records(scene.folder / "p")[0], set_("digest", "ab" * 32))
    shutil.rmtree(path)
    shutil.rmtree(scene.folder / "p" / "sealed")
    shutil.move(scene.folder / "p", path)


MERGE, SUBSET = "cache merge", "cache subset"
PEOPLE = ("--participants", "{scene}/who.tsv")
ATTACKS = [
    Attack("chunks of two volumes changed places", MERGE, with_sound(exchanged), "that were committed"),
    Attack(
        "one id with other numbers", MERGE, with_sound(other_numbers), f"the first {WHO}.*abababababab in"
    ),
    Attack(
        "another fingerprint",
        MERGE,
        with_sound(header(lambda found: found["fingerprint"]["backbone"].update(weights_sha256="cd" * 32))),
        "weights_sha256 is .* here and .* there",
    ),
    Attack(
        "another array width, allowed to mix",
        MERGE,
        with_sound(header(lambda found: found["arrays"][0].update(item_shape=[9])), "--mixed-numerics"),
        r"item_shape\[0\] is 9 here",
    ),
    Attack(
        "another arithmetic",
        MERGE,
        with_sound(numerics({"compute_dtype": "bfloat16"})),
        "compute_dtype is .* here and .* there.*--mixed-numerics",
    ),
    Attack(
        "a record's arithmetic that its header does not know",
        MERGE,
        with_sound(record(set_("numerics", NONSENSE)), "--mixed-numerics"),
        "other numerics than the header allows",
    ),
    Attack(
        "an arithmetic that nobody knows",
        MERGE,
        with_sound(header(set_("other_numerics", [{**NONSENSE, "compute_dtype": "float8"}]))),
        "other_numerics.0.compute_dtype",
    ),
    Attack("an id in capitals", MERGE, with_sound(renamed(WHO.upper())), "two participants .*'SUB-03' in"),
    Attack("an id with a zero-width space", MERGE, with_sound(renamed(WHO + "\u200b")), r"sub-03\\u200b' in"),
    Attack(
        "a withdrawal in one store", MERGE, with_sound(withdrawn_here), "left out.*" + WHO, 0, check=stays_out
    ),
    Attack("a tombstone that hides another", MERGE, with_sound(other_tombstone), "another tombstone"),
    Attack("a spoilt tombstone", MERGE, with_sound(spoilt_tombstone), "no tombstone"),
    Attack("a chunk behind a link", MERGE, with_sound(link("cls/c.0.0.0")), "symbolic link"),
    Attack(
        "a preview that is none",
        MERGE,
        with_sound(first(previews, lambda scene, path: path.write_bytes(b"<svg/>"))),
        "PNG",
    ),
    Attack("slices that nothing has", MERGE, with_sound(table(set_("slices", 65_537))), "slices"),
    Attack("an array coded otherwise", MERGE, with_sound(array(set_("codecs", []))), "are coded as"),
    Attack("provenance that is none", MERGE, with_sound(odd_provenance), "content digest", 0, check=quiet),
    Attack("a place that is taken", MERGE, with_sound(taken), "is there already", check=still_mine),
    Attack("a place inside a store", MERGE, inside, "lies inside the store"),
    Attack("a table that is a pipe", SUBSET, cut(fifo, *PEOPLE), "no ordinary file"),
    Attack(
        "a table with a NUL", SUBSET, cut(table_of_people(b"participant_id\nsub-\x0003\n"), *PEOPLE), "NUL"
    ),
    Attack("an id that clears the screen", SUBSET, cut(untouched, "--participants", "\x1b[2J"), r"\\x1b\[2J"),
    Attack(
        "an array that leads out", SUBSET, cut(untouched, "--arrays", "../secret"), "no array '../secret'"
    ),
    Attack(
        "swapped numbers, one array",
        SUBSET,
        cut(exchanged, "--arrays", "cls"),
        "that were committed",
    ),
]
KEEP = {"a place that is taken", "a withdrawal in one store", "provenance that is none"}
ATTACKS = [
    attack if attack.fault in KEEP else Attack(**{**vars(attack), "check": nothing_made})
    for attack in ATTACKS
]
