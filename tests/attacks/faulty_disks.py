"""What disks leave that lost their power, lied, or were never asked to be safe; and who lives on them."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from attacks.scene import Answer, Attack, Scene, run
from leftovers import dead_token

from cache_schema.files.unfinished import new_file, owner_token

Spoil = Callable[[Path], object]
HELD: list[BinaryIO] = []
"""What a live process works on: this one."""


def cut(pattern: str, share: float = 0.0) -> Spoil:
    """The first file of that pattern loses its end."""
    return lambda store: os.truncate(one(store, pattern), int(one(store, pattern).stat().st_size * share))


def zeroed(pattern: str) -> Spoil:
    """The first file of that pattern keeps its length and loses its bytes."""
    return lambda store: one(store, pattern).write_bytes(bytes(one(store, pattern).stat().st_size))


def lost(pattern: str) -> Spoil:
    """The name of the first file of that pattern never reached the disk."""
    return lambda store: one(store, pattern).unlink()


def one(store: Path, pattern: str) -> Path:
    """The first file of a pattern."""
    return min(path for path in store.glob(pattern) if path.stat().st_size)


def foreign(pattern: str) -> Spoil:
    """The first file of that pattern shows what lay on its blocks before."""
    return lambda store: one(store, pattern).write_bytes(one(store, "header.json").read_bytes()[:3000])


def on(spoil: Spoil, store: str = "extracted", *arguments: str, pipeline: bool = False):
    """Spoil a fresh store, and give its name (or that of its pipeline) to the verb."""

    def arrange(scene: Scene) -> list[str]:
        place = scene.extracted() if store == "extracted" else scene.archived(store)
        spoil(place)
        return [str(scene.archived("pipeline.yaml") if pipeline else place), *arguments]

    return arrange


def is_sound(scene: Scene, answer: Answer) -> None:
    """After a repair the store verifies, and holds what an undisturbed extraction holds."""
    said = re.search(r"content digest (\w{64})", answer.out)
    assert said is not None
    assert said[1] == sound_digest(scene)
    assert run("cache verify", ["--full", str(scene.folder / "unsealed.zarr")]).code == 0


def sound_digest(scene: Scene) -> str:
    """Content digest of the store that nobody spoiled."""
    other = Scene.below(scene.folder / "other")
    found = re.search(r"content digest:? +(\w{64})", run("cache inspect", [str(other.extracted())]).out)
    assert found is not None
    return found[1]


def dead(store: Path) -> None:
    """Leftovers of a process of this machine that was killed, whatever their times say."""
    token = dead_token()
    for name in (f"tmp/write{token}", f"table/.000001.json{token}"):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes(b"part")
    (store.parent / f".{store.name}.creating{token}" / "cls").mkdir(parents=True)
    os.utime(store / f"tmp/write{token}", (4_102_444_800, 4_102_444_800))  # 2100


def alive(store: Path) -> None:
    """A write of a live process, which looks as old as files can, under a number that is nobody's."""
    file = new_file(f"{store}/tmp/write")
    HELD.append(file)
    os.rename(file.name, f"{store}/tmp/write~{owner_token().split('~')[1]}~4194305~0123456789ab.1")
    os.utime(f"{store}/tmp", (0, 0))
    os.utime(file.fileno(), (0, 0))


def elsewhere(store: Path) -> None:
    """Leftovers whose names say nothing of a start of a machine: nobody can be asked."""
    (store / "tmp").mkdir(exist_ok=True)
    (store / "tmp" / "write~node17~4711~0a1b2c").write_bytes(b"part")


def unfinished(scene: Scene) -> list[str]:
    """What is left of all of these."""
    store = scene.folder / "unsealed.zarr"
    found = [
        *(store / "tmp").glob("*"),
        *(store / "table").glob(".*"),
        *store.parent.glob(f".{store.name}.*"),
    ]
    return sorted(path.name for path in found)


def is_swept(scene: Scene, answer: Answer) -> None:
    """Nothing unfinished is left."""
    assert unfinished(scene) == []


def is_kept(scene: Scene, answer: Answer) -> None:
    """What a live process holds is there; then it lets go."""
    names = unfinished(scene)
    HELD.pop().close()
    assert len(names) == 1


def half_renamed(store: Path) -> None:
    """A pack died between its two renames, where the system has no exchange."""
    store.rename(store.parent / f".{store.name}.replaced{owner_token()}")


def replaced_by_nothing(store: Path) -> None:
    """The folder's name is there, and nothing that was in it."""
    shutil.rmtree(store)
    store.mkdir()


def stale_seal(store: Path) -> None:
    """The seal that a writer took off is back, without the volume committed since."""
    record = one(store, "records/*/*.json")
    keep = record.read_bytes()
    record.unlink()
    failures = store / "failures"
    failures.mkdir(exist_ok=True)
    (failures / record.name).write_text(
        '{"participant_id":"x","session_id":"","volume_id":"y","path":"z","reason":"r","when":""}'
    )
    run("cache seal", [str(store)])
    (failures / record.name).unlink()
    record.write_bytes(keep)


RECORD, CHUNK, TABLE = "records/*/*.json", "cls/c.*", "table/000000.json"
AGAIN = "--replace"

ATTACKS = [
    Attack(
        "a record of length zero", "cache verify", on(cut(RECORD)), r"record records/.*damaged.*--replace", 1
    ),
    Attack(
        "a record of length zero",
        "cache inspect",
        on(cut(RECORD)),
        "record records/.*cannot be read: it is damaged",
    ),
    Attack(
        "a record of length zero",
        "cache seal",
        on(cut(RECORD)),
        "record records/.*cannot be read: it is damaged",
    ),
    Attack(
        "a record of length zero", "train", on(cut(RECORD), pipeline=True), "record records/.*it is damaged"
    ),
    Attack(
        "a record of length zero",
        "extract",
        on(cut(RECORD), pipeline=True),
        "record records/.*--replace",
    ),
    Attack(
        "a record of zeros",
        "extract",
        on(zeroed(RECORD), "extracted", AGAIN, pipeline=True),
        "1 volumes embedded",
        1,
        check=is_sound,
    ),
    Attack("half a record", "cache verify", on(cut(RECORD, 0.5)), r"record records/.*damaged.*--replace", 1),
    Attack(
        "a record of somebody's old bytes",
        "cache verify",
        on(foreign(RECORD)),
        r"record records/.*damaged.*--replace",
        1,
    ),
    Attack(
        "the name of a record is lost",
        "cache verify",
        on(lost(RECORD), "extracted", "--full"),
        "data without a record.*run the extraction again",
        1,
    ),
    Attack(
        "the name of a record is lost",
        "extract",
        on(lost(RECORD), pipeline=True),
        "1 volumes embedded, 8 already",
        1,
        check=is_sound,
    ),
    Attack(
        "a chunk of length zero",
        "cache verify",
        on(cut(CHUNK)),
        r"cls +chunk cls/c\.\S+ has 0 bytes, not \d+.*--replace",
        1,
    ),
    Attack(
        "a chunk of length zero",
        "train",
        on(cut(CHUNK), pipeline=True),
        r"array 'cls': chunk cls/c\.\S+ has 0 bytes",
    ),
    Attack(
        "a chunk of length zero",
        "cache pack",
        on(cut("patches/c.*"), "sealed.zarr"),
        r"array 'patches': chunk patches/c\.\S+ has 0 bytes",
    ),
    Attack(
        "a chunk of zeros",
        "cache verify",
        on(zeroed("patch_mean/c.*")),
        r"patch_mean +chunk patch_mean/c\.\S+ does not match its checksum",
        1,
    ),
    Attack(
        "a chunk of zeros",
        "extract",
        on(zeroed("patches/c.*"), "extracted", AGAIN, pipeline=True),
        "1 volumes embedded",
        1,
        check=is_sound,
    ),
    Attack(
        "the name of a chunk is lost", "cache verify", on(lost(CHUNK)), r"cls +chunk cls/c\.\S+ is missing", 1
    ),
    Attack(
        "the name of a chunk is lost",
        "extract",
        on(lost(CHUNK), "extracted", AGAIN, pipeline=True),
        "1 volumes embedded",
        1,
        check=is_sound,
    ),
    Attack(
        "half a header",
        "cache verify",
        on(cut("header.json", 0.5)),
        r"header\.json of .* cannot be read.*restore it",
        1,
    ),
    Attack(
        "half a header",
        "extract",
        on(cut("header.json", 0.5), pipeline=True),
        r"header\.json of .* cannot be read",
    ),
    Attack(
        "a header of zeros", "cache inspect", on(zeroed("header.json")), r"header\.json of .* cannot be read"
    ),
    Attack(
        "the name of the header is lost",
        "extract",
        on(lost("header.json"), pipeline=True),
        "other things in it and no slicecache store",
    ),
    Attack(
        "a table segment without content",
        "cache verify",
        on(cut(TABLE)),
        r"table +table/000000\.json cannot be read",
        1,
    ),
    Attack(
        "a table segment without content",
        "extract",
        on(cut(TABLE), pipeline=True),
        r"table/000000\.json cannot be read",
    ),
    Attack(
        "a table segment without content", "cache seal", on(cut(TABLE)), r"table/000000\.json cannot be read"
    ),
    Attack(
        "the name of the table segment is lost",
        "cache verify",
        on(lost(TABLE)),
        "the record says row 0, the table None",
        1,
    ),
    Attack(
        "array metadata of length zero",
        "cache verify",
        on(cut("cls/zarr.json")),
        "cls +array 'cls': its metadata cannot be read",
        1,
    ),
    Attack(
        "array metadata of length zero",
        "extract",
        on(cut("cls/zarr.json"), pipeline=True),
        "array 'cls': its metadata cannot be read",
    ),
    Attack(
        "the group's metadata are zeros",
        "cache verify",
        on(zeroed("zarr.json")),
        r"zarr\.json +the group metadata is missing, damaged",
        1,
    ),
    Attack(
        "a sealed index of length zero",
        "cache inspect",
        on(cut("sealed/index.json"), "sealed.zarr"),
        "delete the folder `sealed` and seal",
    ),
    Attack(
        "a sealed index of zeros",
        "cache verify",
        on(zeroed("sealed/index.json"), "sealed.zarr"),
        r"sealed/index\.json cannot be read",
        1,
    ),
    Attack(
        "a seal without its records",
        "cache verify",
        on(lost("sealed/records.jsonl"), "sealed.zarr"),
        r"sealed/records\.jsonl",
        1,
    ),
    Attack(
        "a seal that was taken off is back",
        "cache verify",
        on(stale_seal),
        "it has a record, but the sealed index does not know it",
        1,
    ),
    Attack(
        "a shard of length zero",
        "cache verify",
        on(cut("cls/c.*"), "packed.zarr"),
        r"shard cls/c\.\S+ has 0 bytes",
        1,
    ),
    Attack(
        "a shard of length zero",
        "cache unpack",
        on(cut("patches/c.*"), "packed.zarr"),
        r"shard patches/c\.\S+ has 0 bytes",
    ),
    Attack(
        "gathered records of length zero",
        "cache verify",
        on(cut("packed/records.jsonl"), "packed.zarr"),
        r"packed/records\.jsonl is missing, or not what",
        1,
    ),
    Attack(
        "the mark of a packed store is lost",
        "cache verify",
        on(lost("packed.json"), "packed.zarr"),
        r"packed\.json is missing, but",
        1,
    ),
    Attack(
        "a pack died between its renames",
        "cache inspect",
        on(half_renamed, "sealed.zarr"),
        "was interrupted; rename",
    ),
    Attack(
        "a pack died between its renames",
        "cache pack",
        on(half_renamed, "sealed.zarr"),
        "packed .* volumes read back",
        0,
    ),
    Attack(
        "nothing is in the store's folder",
        "cache verify",
        on(replaced_by_nothing),
        "no slicecache store: it has no header.json",
        1,
    ),
    Attack(
        "nothing is in the store's folder",
        "extract",
        on(replaced_by_nothing, pipeline=True),
        "9 volumes embedded",
        1,
        check=is_sound,
    ),
    Attack(
        "leftovers of a dead process, from the future",
        "extract",
        on(dead, pipeline=True),
        "9 already there",
        1,
        check=is_swept,
    ),
    Attack(
        "leftovers of a dead process, from the future",
        "cache verify",
        on(dead),
        "3 unfinished files.*all right",
        0,
    ),
    Attack(
        "a live write, from 1970, of a number that is gone",
        "extract",
        on(alive, pipeline=True),
        "9 already there",
        1,
        check=is_kept,
    ),
    Attack(
        "a live write, from 1970, of a number that is gone",
        "cache verify",
        on(alive),
        "all right",
        0,
        check=is_kept,
    ),
    Attack(
        "leftovers that nobody can be asked about",
        "cache verify",
        on(elsewhere),
        "1 unfinished files.*node17.*delete.*all right",
        0,
    ),
    Attack(
        "leftovers that nobody can be asked about",
        "cache remove",
        on(elsewhere, "extracted", "sub-02"),
        "is an unfinished write: stop what writes",
    ),
]
