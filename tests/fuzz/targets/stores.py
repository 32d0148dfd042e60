"""A store and its parts, from whoever made it; hashes are made right again, or all would stop there."""

import hashlib
import json
import struct
import tempfile
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from fuzz.target import Files, Target, files_of
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row, tiny_png

from cache_schema.common.errors import StoreError
from cache_schema.files.objects import LocalObjects
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.heartbeat import Heartbeat
from cache_schema.format.layout import parse_layout
from cache_schema.format.png import NotPngError, require_png
from cache_schema.format.record import Failure
from cache_schema.move.export import export_store
from cache_schema.move.pack import pack
from cache_schema.status.look import Observer
from cache_schema.status.status_text import status_text
from cache_schema.store.commit import parse_record, read_failures
from cache_schema.store.create import load_header, parse_header
from cache_schema.store.describe import describe_store, description_text
from cache_schema.store.packed import check_lines, packed_lines
from cache_schema.store.reader import open_store
from cache_schema.store.seal import read_sealed_index, read_sealed_records, seal
from cache_schema.store.table import read_volume_table
from cache_schema.store.writer import StoreWriter
from cache_schema.verify.verification_text import verification_text
from cache_schema.verify.verify import verify_store
from cache_schema.workers.heart import Heart, WorkDone, Worker

HEADER = example_header(("cls",), dim=3, slice_chunk=4)
READING = (
    "cache_schema.common.stored_json",
    "cache_schema.format.header",
    "cache_schema.format.layout",
    "cache_schema.store.reader",
)


@cache
def _stores() -> dict[str, Files]:
    """A tiny store in every form: two volumes, one failure, one pending."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        plain, location = folder / "plain", str(folder / "sealed")
        keys = [example_key(number) for number in range(3)]
        for where in (str(plain), location):
            rows = [example_row(key, 6) for key in keys[: 3 if where == str(plain) else 2]]
            writer = StoreWriter.open(where, HEADER, rows)
            writer.fix_numerics(HEADER.numerics, "cpu", {})
            for number, key in enumerate(keys[:2]):
                n = 3 + 2 * number
                writer.commit(example_draft(key, n), example_arrays(HEADER, n, number), tiny_png(number))
        names = dict(zip(("participant_id", "session_id", "volume_id"), keys[2].as_list(), strict=True))
        writer = StoreWriter.open(str(plain), HEADER, rows)
        writer = StoreWriter.open(str(plain), HEADER, [example_row(key, 6) for key in keys])
        writer.fail(Failure(**names, path="x.nii", reason="why"))
        seal(location)
        pack(location, str(folder / "packed"), shard_volumes=2)
        export_store(location, str(folder / "store.h5"), previews=True)
        made = {name: files_of(folder / name) for name in ("plain", "sealed", "packed")}
        made["h5"] = files_of(folder, "store.h5")
        return made


def _parts(form: str, *starts: str) -> Files:
    """Some files of a form."""
    return {name: data for name, data in _stores()[form].items() if name.startswith(starts)}


def _hashed(data: bytes) -> bytes:
    """A record, segment or index with its own hash."""
    body: dict[str, Any] = {key: value for key, value in json.loads(data).items() if key != "sha256"}
    return canonical_json({**body, "sha256": sha256_json(body)})


def reseal(files: Files) -> Files:
    """Every hash of a store made right, from the inside to the outside; what cannot be read stays."""
    for name in sorted(files, key=lambda name: name.startswith("sealed/")):
        try:
            if name == "header.json":
                body = json.loads(files[name])["header"]
                files[name] = canonical_json({"header": body, "sha256": sha256_json(body)})
            elif name == "numerics.json":
                fixed = json.loads(files[name])
                fixed["header_sha256"] = json.loads(files["header.json"])["sha256"]
                files[name] = _hashed(json.dumps(fixed).encode())
            elif name == "sealed/index.json":
                index = json.loads(files[name])
                index["header_sha256"] = json.loads(files["header.json"])["sha256"]
                index["records_sha256"] = hashlib.sha256(files["sealed/records.jsonl"]).hexdigest()
                files[name] = _hashed(json.dumps(index).encode())
            elif name.startswith(("records/", "table/")) or name == "record.json":
                files[name] = _hashed(files[name])
            elif name == "packed/records.jsonl":
                body = files[name].partition(b"\n")[2]
                state = {"n_records": body.count(b"\n"), "sha256": hashlib.sha256(body).hexdigest()}
                files[name] = canonical_json(state) + b"\n" + body
            elif name.endswith(".png"):
                files[name] = _whole_chunks(files[name])
        except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
            continue
    return files


def _whole_chunks(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums."""
    made, place = data[:8], 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : min(place + 8 + length, len(data) - 4)]
        made += data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return made


def _bytes(path: Path) -> bytes:
    """A file, or nothing: here a parser is asked, and not whoever opens files for it."""
    return path.read_bytes() if path.is_file() else b""


def _header(folder: Path) -> None:
    parse_header(_bytes(folder / "header.json"), "x")


def _numerics(folder: Path) -> None:
    load_header(LocalObjects(folder), "x")


def _record(folder: Path) -> None:
    parse_record(_bytes(folder / "record.json"), "x")


def _failures(folder: Path) -> None:
    read_failures(LocalObjects(folder))


def _metadata(folder: Path) -> None:
    parse_layout(HEADER.arrays[0], _bytes(folder / "zarr.json"))


def _table(folder: Path) -> None:
    read_volume_table(LocalObjects(folder))


def _seal(folder: Path) -> None:
    objects = LocalObjects(folder)
    load_header(objects, "x")
    index = read_sealed_index(objects)
    if index is not None:
        for line in read_sealed_records(objects, len(index.row)):
            parse_record(line, "x")


def _packed(folder: Path) -> None:
    objects = LocalObjects(folder)
    wrong = list(check_lines(objects))
    for name, line in packed_lines(objects).items():
        parse_record(line, name)
    if wrong:
        raise StoreError(wrong[0])


def _picture(folder: Path) -> None:
    require_png(_bytes(folder / "preview.png"))


def _whole(location: str) -> None:
    """All that the command does with a store, but for writing; `verify` only names what is wrong."""
    verification = verify_store(location, full=True)
    text = verification_text(verification)
    text.encode()
    json.dumps(verification.as_json())
    described = describe_store(location)
    description_text(described).encode()
    store = open_store(location)
    store.records()
    for entry in store.entries:
        store.preview(entry.key)
    for spec in store.header.arrays:
        store.read(spec.name)
    if not verification.ok:
        raise StoreError(" ".join(verification.problems[0].problem.split()))


def _status(folder: Path) -> None:
    """How far it is; a heartbeat that is none is counted and no fault of the store."""
    status = Observer(str(folder)).look()
    status_text(status).encode()
    json.dumps(status.as_json())
    if status.crew.unreadable:
        raise StoreError("a heartbeat cannot be read")


def _seeds_of_status() -> list[Files]:
    worker = Worker("cuda", "a device", "bfloat16", "a processor", "0/2", 5)
    beat = Heart("", worker, lambda: WorkDone(1, 1, 160, 8.0, 0.5)).now()
    return [_stores()["plain"] | {beat.name: canonical_json(beat.model_dump(mode="json"))}]


def _named(files: Files) -> Files:
    """Hashes made right, and each heartbeat under the name that is its own."""
    for name in [name for name in files if name.startswith("workers/")]:
        with suppress(ValueError, RecursionError):
            files[Heartbeat.model_validate_json(files[name]).name] = files.pop(name)
    return reseal(files)


def _seeds_of_table() -> list[Files]:
    second = canonical_json({"first_row": 3, "slices": 9, "rows": [], "sha256": ""})
    one = _parts("plain", "table/")
    return [one, one | {"table/000001.json": _hashed(second)}]


def _seeds_of_record() -> list[Files]:
    return [{"record.json": data} for data in _parts("plain", "records/").values()]


def _zip() -> list[Files]:
    """The sealed store as a zip, stored and deflated."""
    import io
    import zipfile

    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in _stores()["sealed"].items():
                archive.writestr(zipfile.ZipInfo(name), data, method)
        made.append({"store.zip": file.getvalue()})
    return made


TARGETS = [
    Target("store header", lambda: [_parts("plain", "header.json")], _header, READING, reseal),
    Target(
        "store numerics",
        lambda: [_parts("plain", "header.json", "numerics.json")],
        _numerics,
        ("cache_schema.format.numerics", "cache_schema.store.numerics"),
        reseal,
    ),
    Target("store record", _seeds_of_record, _record, ("cache_schema.store.commit",), reseal),
    Target(
        "store failure", lambda: [_parts("plain", "failures/")], _failures, ("cache_schema.store.commit",)
    ),
    Target("store table", _seeds_of_table, _table, ("cache_schema.store.table",), reseal),
    Target(
        "array metadata",
        lambda: [{"zarr.json": _stores()[form]["cls/zarr.json"]} for form in ("plain", "packed")],
        _metadata,
        ("cache_schema.format.array_metadata", "cache_schema.format.layout"),
    ),
    Target(
        "store seal",
        lambda: [_parts("sealed", "header.json", "sealed/")],
        _seal,
        ("cache_schema.store.seal", "cache_schema.store.commit"),
        reseal,
    ),
    Target(
        "status",
        _seeds_of_status,
        _status,
        ("cache_schema.workers.heard", "cache_schema.status.counts", "cache_schema.format.heartbeat"),
        _named,
    ),
    Target(
        "packed records",
        lambda: [_parts("packed", "packed.json", "packed/records")],
        _packed,
        ("cache_schema.store.packed",),
        reseal,
    ),
    Target(
        "preview",
        lambda: [{"preview.png": tiny_png(7)}],
        _picture,
        ("cache_schema.format.png",),
        reseal,
        (NotPngError,),
    ),
    Target(
        "whole store",
        lambda: [_stores()[form] for form in ("plain", "sealed", "packed")],
        lambda folder: _whole(str(folder)),
        (*READING, "cache_schema.verify.verify", "cache_schema.verify.records", "cache_schema.files.objects"),
        reseal,
    ),
    Target(
        "zip store", _zip, lambda folder: _whole(str(folder / "store.zip")), ("cache_schema.files.archive",)
    ),
    Target(
        "h5 store",
        lambda: [_stores()["h5"]],
        lambda folder: _whole(str(folder / "store.h5")),
        ("cache_schema.files.h5.objects", "cache_schema.files.h5.stretches"),
    ),
]
