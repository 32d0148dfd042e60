"""What disks leave that lost their power, lied, or were never asked to be safe."""

import shutil
from pathlib import Path

from attacks.scene import Attack, run
from attacks.scene_disks import AGAIN, cut, foreign, is_sound, lost, on, one, zeroed


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
        "1 volume embedded",
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
        "1 volume embedded, 8 already",
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
        "1 volume embedded",
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
        "1 volume embedded",
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
]
