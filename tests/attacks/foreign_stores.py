"""Stores from strangers: names, links, numbers and codecs that were made to hurt; all hashes are right."""

import base64
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.scene import SECRET, Answer, Attack, Scene
from attacks.scene_hostile import (
    DEEP,
    Edit,
    as_link,
    behind_link,
    bomb,
    edit,
    png,
    previews,
    records,
    with_member,
)

Spoil = Callable[[Scene, Path], object]


def store(spoil: Spoil, *more: str, name: str = "unsealed.zarr"):
    """A spoilt store as the first argument."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived(name)
        spoil(scene, path)
        return [str(path), *more]

    return arrange


def pipeline(spoil: Spoil, name: str = "unsealed.zarr"):
    """A pipeline over a spoilt store."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        path = scene.archived(name)
        spoil(scene, path)
        return [str(scene.archived("pipeline.yaml")), "--set", f"cache.store={name}"]

    return arrange


def predicted(spoil: Spoil, name: str = "sealed.zarr"):
    """A sound bundle, applied to a spoilt store."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived(name)
        spoil(scene, path)
        return [str(scene.archived("train")), str(path)]

    return arrange


def header(change: Edit) -> Spoil:
    return lambda _, path: edit(path / "header.json", change)


def array(change: Edit, name: str = "cls") -> Spoil:
    return lambda _, path: edit(path / name / "zarr.json", change)


def record(change: Edit, number: int = 0) -> Spoil:
    return lambda _, path: edit(records(path)[number], change)


def table(change: Edit) -> Spoil:
    return lambda _, path: edit(path / "table" / "000000.json", change)


def index(change: Edit) -> Spoil:
    return lambda _, path: edit(path / "sealed" / "index.json", change)


def bytes_of(name: str, data: bytes) -> Spoil:
    return lambda _, path: (path / name).write_bytes(data)


def link(name: str) -> Spoil:
    return lambda scene, path: behind_link(path / name, scene)


def first(sort: Callable[[Path], list[Path]], what: Callable[[Scene, Path], object]) -> Spoil:
    return lambda scene, path: what(scene, sort(path)[0])


def rename_array(new: str) -> Spoil:
    def change(found: dict[str, Any]) -> None:
        found["arrays"][0]["name"] = new

    def spoil(scene: Scene, path: Path) -> None:
        scene.put_outside("other.zarr/cls", path / "cls")
        edit(path / "header.json", change)

    return spoil


def tmp_link(scene: Scene, path: Path) -> None:
    (path / "tmp").symlink_to(scene.outside / "tmp")


def fifo(scene: Scene, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def secret_link(scene: Scene, path: Path) -> None:
    path.unlink()
    path.symlink_to(scene.outside / "secret.txt")


def hard_link(scene: Scene, path: Path) -> None:
    """A chunk that is also a file of somebody else."""
    mine = path / "cls" / "c.0.0.0"
    theirs = scene.put_outside("theirs.bin", mine)
    mine.unlink()
    os.link(theirs, mine)


def packed_line(text: bytes) -> Spoil:
    def spoil(scene: Scene, path: Path) -> None:
        from cache_schema.files.objects import LocalObjects
        from cache_schema.store.packed import put_lines

        lines = (path / "packed" / "records.jsonl").read_bytes().splitlines()[1:]
        put_lines(
            LocalObjects(path),
            {text.decode(): lines[0].partition(b" ")[2]}
            | {line[:64].decode(): line[65:] for line in lines[1:]},
        )

    return spoil


def packed_preview(name: str, data: bytes) -> Spoil:
    def spoil(scene: Scene, path: Path) -> None:
        with zipfile.ZipFile(path / "packed" / "previews.zip", "a") as archive:
            archive.writestr(name, data)

    return spoil


def sparse(name: str, size: int) -> Spoil:
    """A file that says that it is large and takes no room."""

    def spoil(scene: Scene, path: Path) -> None:
        with (path / name).open("r+b") as file:
            file.truncate(size)

    return spoil


def h5(spoil: Callable[[Any, Scene], object], *more: str):
    """A spoilt export."""

    def arrange(scene: Scene) -> list[str]:
        import h5py

        path = scene.archived("store.h5")
        with h5py.File(path, "r+") as file:
            spoil(file, scene)
        return [str(path), *more]

    return arrange


def h5_elsewhere(kind: str) -> Callable[[Any, Scene], object]:
    """Send a reader of `cls` to another place."""
    import h5py

    def spoil(file: Any, scene: Scene) -> None:
        shape, dtype, chunks = file["cls"].shape, file["cls"].dtype, file["cls"].chunks
        file.move("cls", "elsewhere")
        if kind == "external link":
            file["cls"] = h5py.ExternalLink(str(scene.outside / "secret.h5"), "/cls")
        elif kind == "soft link":
            file["cls"] = h5py.SoftLink("/elsewhere")
        elif kind == "external storage":
            file.create_dataset(
                "cls", shape, dtype, external=[(str(scene.outside / "secret.txt"), 0, h5py.h5f.UNLIMITED)]
            )
        elif kind == "virtual":
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(scene.outside / "secret.h5"), "cls", shape)
            file.create_virtual_dataset("cls", layout)
        elif kind == "filter":
            file.create_dataset("cls", data=file["elsewhere"][:], chunks=chunks, compression="gzip")
        elif kind == "compound":
            file.create_dataset("cls", shape[:1], [("a", "<f2"), ("b", "S9")], chunks=(1,))

    return spoil


def h5_index(change: Edit) -> Callable[[Any, Scene], object]:
    import numpy as np

    def spoil(file: Any, scene: Scene) -> None:
        found = json.loads(file["objects/index"][:].tobytes())
        change(found)
        del file["objects/index"]
        file["objects/index"] = np.frombuffer(json.dumps(found).encode(), dtype=np.uint8)

    return spoil


def h5_huge(file: Any, scene: Scene) -> None:
    del file["checksums/cls"]
    file.create_dataset("checksums/cls", (10**9, 10**4), "<i8", chunks=(1, 100))


def h5_strings(file: Any, scene: Scene) -> None:
    import h5py

    del file["objects/index"]
    file.create_dataset("objects/index", data=["{}"], dtype=h5py.string_dtype())


def h5_odd_attributes(file: Any, scene: Scene) -> None:
    """Attributes that nothing here reads: text of any length, and a reference into the file."""
    import h5py

    file.attrs["slicecache"] = SECRET[:3] * 10_000
    file.attrs.create("more", ["x" * 1000], dtype=h5py.string_dtype())
    file.attrs["where"] = file["cls"].regionref[0, 0]


def no_secret_in_report(scene: Scene, answer: Answer) -> None:
    report = (scene.folder / "run" / "train" / "report.html").read_text()
    assert base64.b64encode(SECRET.encode()).decode() not in report
    assert "leaves out the preview" in (scene.folder / "run" / "train" / "log.txt").read_text()


def theirs_is_there(scene: Scene, answer: Answer) -> None:
    assert (scene.outside / "theirs.bin").exists()


def nothing_made(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "out").exists()


def set_(name: str, value: object) -> Edit:
    return lambda found: found.__setitem__(name, value)


def to(arrange: Callable[[Scene], list[str]], *flags: str, out: str = "out"):
    """The same, with a place to write to."""
    return lambda scene: [*arrange(scene), *flags, str(scene.folder / out)]


DOTS = "../outside/other.zarr/cls"
LINK = r"is a symbolic link: nothing inside a store is followed"
DEEPLY = "nested more than 64 deep"

NAMES = [
    Attack(
        "an array named ../another store",
        "cache remove",
        store(rename_array(DOTS), "sub-01"),
        "arrays.0.name",
    ),
    Attack("an array named ../another store", "cache verify", store(rename_array(DOTS)), "arrays.0.name", 1),
    Attack("an array named ../another store", "extract", pipeline(rename_array(DOTS)), "arrays.0.name"),
    Attack(
        "an array called table",
        "cache inspect",
        store(rename_array("table")),
        "no array can be called 'table'",
    ),
    Attack(
        "two arrays of one name", "cache inspect", store(rename_array("cls_l02")), "an array stands twice"
    ),
    Attack("an array named CLS/..", "train", pipeline(rename_array("CLS/..")), "arrays.0.name"),
    Attack(
        "a packed record named ../..",
        "cache unpack",
        to(store(packed_line(b"../../outside/x"), name="packed.zarr"), "--out"),
        "line 2: .*is no key hash",
        check=nothing_made,
    ),
    Attack(
        "a packed record named ../..",
        "cache verify",
        store(packed_line(b"../../outside/x"), name="packed.zarr"),
        "is no key hash",
        1,
    ),
    Attack(
        "a packed preview named ../..",
        "cache unpack",
        to(store(packed_preview("../../../outside/x.png", png()), name="packed.zarr"), "--out"),
        "could lie outside a store",
        check=nothing_made,
    ),
    Attack(
        "a packed preview of no volume",
        "cache unpack",
        to(store(packed_preview("readme.png", png()), name="packed.zarr"), "--out"),
        "no preview's name",
    ),
]
LINKS = [
    Attack("tmp is a link to files of somebody", "extract", pipeline(tmp_link), LINK),
    Attack("tmp is a link to files of somebody", "cache remove", store(tmp_link, "sub-01"), LINK),
    Attack("tmp is a link to files of somebody", "cache seal", store(tmp_link), LINK + "|not complete"),
    Attack("the header is a link", "cache inspect", store(link("header.json")), LINK),
    Attack("the header is a link", "cache verify", store(link("header.json")), LINK, 1),
    Attack("the records are behind a link", "cache inspect", store(link("records")), LINK),
    Attack("the records are behind a link", "cache verify", store(link("records")), LINK, 1),
    Attack("the records are behind a link", "cache remove", store(link("records"), "sub-01"), LINK),
    Attack("the table is behind a link", "extract", pipeline(link("table")), LINK),
    Attack("an array is behind a link", "cache verify", store(link("cls")), LINK, 1),
    Attack("an array is behind a link", "train", pipeline(link("cls")), LINK),
    Attack("an array is behind a link", "cache remove", store(link("cls"), "sub-01"), LINK),
    Attack("a chunk is a link", "cache verify", store(link("cls/c.3.0.0")), LINK, 1),
    Attack("a chunk is a link", "predict", predicted(link("cls/c.3.0.0")), LINK),
    Attack("the seal is behind a link", "cache inspect", store(link("sealed"), name="sealed.zarr"), LINK),
    Attack("the failures are behind a link", "cache inspect", store(link("failures")), LINK),
    Attack(
        "the packed records are a link",
        "cache unpack",
        to(store(link("packed/records.jsonl"), name="packed.zarr"), "--out"),
        LINK,
    ),
    Attack("a preview is a link to a secret", "cache verify", store(first(previews, secret_link)), LINK, 1),
    Attack(
        "a preview is a link to a secret",
        "train",
        pipeline(lambda s, p: [secret_link(s, one) for one in previews(p)]),
        "AUROC",
        0,
        check=no_secret_in_report,
    ),
    Attack(
        "a preview is a link to a secret",
        "cache export",
        to(store(first(previews, secret_link)), "--previews", out="out.h5"),
        LINK,
    ),
    Attack("a record is a pipe", "cache inspect", store(first(records, fifo)), "is no file"),
    Attack("a record is a pipe", "cache verify", store(first(records, fifo)), "is no file", 1),
    Attack(
        "a chunk is a pipe", "cache verify", store(lambda s, p: fifo(s, p / "cls/c.2.0.0")), "is no file", 1
    ),
    Attack("the header is a pipe", "train", pipeline(lambda s, p: fifo(s, p / "header.json")), "is no file"),
    Attack(
        "a chunk is a hard link",
        "cache remove",
        store(hard_link, "sub-00"),
        "removed from",
        0,
        check=theirs_is_there,
    ),
]
JSON = [
    Attack("a header of 200,000 nested lists", "cache inspect", store(bytes_of("header.json", DEEP)), DEEPLY),
    Attack(
        "a header of 200,000 nested lists", "cache verify", store(bytes_of("header.json", DEEP)), DEEPLY, 1
    ),
    Attack(
        "a table of 200,000 nested lists", "extract", pipeline(bytes_of("table/000000.json", DEEP)), DEEPLY
    ),
    Attack("metadata of 200,000 nested lists", "train", pipeline(bytes_of("cls/zarr.json", DEEP)), DEEPLY),
    Attack(
        "a record of 200,000 nested lists",
        "cache inspect",
        store(first(records, lambda s, p: p.write_bytes(DEEP))),
        DEEPLY,
    ),
    Attack(
        "a record of 200,000 nested lists",
        "cache verify",
        store(first(records, lambda s, p: p.write_bytes(DEEP))),
        DEEPLY,
        1,
    ),
    Attack(
        "a failure of 200,000 nested lists",
        "cache inspect",
        store(lambda s, p: next((p / "failures").iterdir()).write_bytes(DEEP)),
        DEEPLY,
    ),
    Attack(
        "a seal of 200,000 nested lists", "predict", predicted(bytes_of("sealed/index.json", DEEP)), DEEPLY
    ),
    Attack(
        "provenance nested 100 deep",
        "cache inspect",
        store(header(lambda h: h["created"].update(x=json.loads("[" * 100 + "]" * 100)))),
        DEEPLY,
    ),
    Attack(
        "a key twice in the header",
        "cache inspect",
        store(bytes_of("header.json", b'{"header": {}, "header": {}, "sha256": ""}')),
        "the key 'header' twice",
    ),
    Attack(
        "NaN in a record",
        "cache verify",
        store(
            first(
                records,
                lambda s, p: p.write_bytes(
                    p.read_bytes().replace(b'"millilitres":', b'"millilitres":NaN,"x":')
                ),
            )
        ),
        "it holds NaN",
        1,
    ),
    Attack(
        "a number without end in a record",
        "train",
        pipeline(
            first(
                records,
                lambda s, p: p.write_bytes(p.read_bytes().replace(b'"row":', b'"row":' + b"9" * 5000)),
            )
        ),
        "is damaged",
    ),
    Attack(
        "a header in UTF-16",
        "cache inspect",
        store(bytes_of("header.json", '{"header": {}}'.encode("utf-16"))),
        "it is no JSON",
    ),
    Attack(
        "a header of a tebibyte",
        "cache inspect",
        store(sparse("header.json", 2**40)),
        "1099511627776 bytes, 4194304 at most",
    ),
    Attack(
        "metadata of a tebibyte", "cache verify", store(sparse("cls/zarr.json", 2**40)), "1048576 at most", 1
    ),
]
NUMBERS = [
    Attack(
        "tokens of 1e9 numbers",
        "cache inspect",
        store(header(lambda h: h["arrays"][0].update(item_shape=[10**9]))),
        "arrays.0.item_shape",
    ),
    Attack(
        "a slice of 2 TB",
        "cache verify",
        store(
            header(
                lambda h: h["arrays"][0].update(
                    item_shape=[60_000, 60_000], dims=["volume", "slice", "row", "col"]
                )
            )
        ),
        "beyond 268435456 bytes",
        1,
    ),
    Attack(
        "chunks of 1e12 slices", "cache inspect", store(header(set_("slice_chunk", 10**12))), "slice_chunk"
    ),
    Attack("no array at all", "train", pipeline(header(set_("arrays", []))), "wrong at arrays"),
    Attack(
        "1e12 slices in the seal",
        "predict",
        predicted(index(lambda i: i["n_slices"].__setitem__(0, 10**12))),
        "wrong at n_slices",
    ),
    Attack(
        "row -1 in the seal",
        "predict",
        predicted(index(lambda i: i["row"].__setitem__(0, -1))),
        "wrong at row",
    ),
    Attack(
        "a seal with a column too short",
        "cache inspect",
        store(index(lambda i: i["row"].pop()), name="sealed.zarr"),
        "columns have different lengths",
    ),
    Attack(
        "a seal with a volume twice",
        "cache inspect",
        store(index(lambda i: i["row"].__setitem__(0, i["row"][1])), name="sealed.zarr"),
        "have the row",
    ),
    Attack("1e12 slices in the table", "extract", pipeline(table(set_("slices", 10**12))), "wrong at slices"),
    Attack(
        "1e12 slices in the table", "cache verify", store(table(set_("slices", 10**12))), "wrong at slices", 1
    ),
    Attack(
        "a table that begins at row -5", "cache verify", store(table(set_("first_row", -5))), "first_row", 1
    ),
    Attack(
        "a table row with a list for a name",
        "extract",
        pipeline(table(lambda t: t["rows"][0].update(participant_id=["x"]))),
        "rows.0.participant_id",
    ),
    Attack(
        "a volume of row -1", "train", pipeline(record(set_("row", -1))), "row is -1, not a number from 0"
    ),
    Attack("a volume of row -1", "cache verify", store(record(set_("row", -1))), "row is -1", 1),
    Attack(
        "a volume of row 1e12", "cache inspect", store(record(set_("row", 10**12))), "row is 1000000000000"
    ),
    Attack(
        "a volume beyond the table",
        "cache verify",
        store(record(set_("row", 77))),
        "the record says row 77, the table",
        1,
    ),
    Attack(
        "two volumes of one row",
        "train",
        pipeline(record(set_("row", 1))),
        "two records of .* have the row 1",
    ),
    Attack(
        "a volume whose name is a number",
        "cache inspect",
        store(record(set_("participant_id", 7))),
        "participant_id is 7, not text",
    ),
    Attack(
        "a volume without slices",
        "train",
        pipeline(record(lambda r: r["slices"].update(index=[], height_mm=[], world_z_mm=[]))),
        "from 1 to 65536 slices",
    ),
    Attack(
        "a volume with 80,000 slices",
        "cache export",
        to(
            store(
                record(
                    lambda r: r["slices"].update(
                        {n: [1] * 80_000 for n in ("index", "height_mm", "world_z_mm")}
                    )
                )
            ),
            out="x.h5",
        ),
        "from 1 to 65536 slices",
    ),
    Attack(
        "a slice index of -1",
        "cache verify",
        store(record(lambda r: r["slices"]["index"].__setitem__(0, -1))),
        "slices.index.0",
        1,
    ),
    Attack(
        "an affine of one row",
        "recompute",
        pipeline(record(lambda r: r["geometry"].update(affine=[[1, 0, 0, 0]]))),
        "affine|usage|No such",
    ),
    Attack(
        "an array of 1e12 slices",
        "cache verify",
        store(array(lambda m: m["shape"].__setitem__(1, 10**12))),
        "an extent of 1000000000000",
        1,
    ),
    Attack(
        "an array of -3 volumes",
        "train",
        pipeline(array(lambda m: m["shape"].__setitem__(0, -3))),
        "an extent of -3",
    ),
    Attack(
        "an array of 20,000 slices that are not there",
        "cache verify",
        store(array(lambda m: m["shape"].__setitem__(1, 20_000))),
        "all right",
        0,
    ),
    Attack(
        "chunks without slices",
        "train",
        pipeline(array(lambda m: m["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(1, 0))),
        "do not hold whole slices",
    ),
    Attack(
        "the failure of another volume",
        "cache verify",
        store(lambda s, p: edit(next((p / "failures").iterdir()), set_("participant_id", "sub-00"))),
        "is the failure of another volume",
        1,
    ),
]


def codec(*names: str) -> Edit:
    return lambda meta: meta.update(codecs=[{"name": name, "configuration": {}} for name in names])


CODECS = [
    Attack(
        "chunks in blosc",
        "train",
        pipeline(array(codec("bytes", "blosc"))),
        "coded as bytes, blosc; only plain",
    ),
    Attack(
        "chunks in gzip",
        "predict",
        predicted(array(codec("bytes", "gzip"))),
        "coded as bytes, gzip; only plain",
    ),
    Attack(
        "chunks in a codec that runs code",
        "cache verify",
        store(array(codec("bytes", "numcodecs.pickle"))),
        "numcodecs.pickle; only plain",
        1,
    ),
    Attack(
        "chunks without checksums",
        "cache export",
        to(store(array(codec("bytes"))), out="x.h5"),
        "coded as bytes; only plain",
    ),
    Attack(
        "a storage transformer",
        "cache verify",
        store(array(set_("storage_transformers", [{"name": "x"}]))),
        "storage_transformers is",
        1,
    ),
    Attack(
        "pads of 0", "cache verify", store(array(set_("fill_value", 0))), "fill_value is 0 in its metadata", 1
    ),
    Attack(
        "numbers of another kind",
        "train",
        pipeline(array(set_("data_type", "int8"))),
        "dtype is 'int8' in its metadata",
    ),
    Attack(
        "another chunk grid",
        "cache verify",
        store(array(lambda m: m["chunk_grid"].update(name="rectilinear"))),
        "chunk_grid is",
        1,
    ),
    Attack(
        "keys with slashes",
        "cache verify",
        store(array(lambda m: m["chunk_key_encoding"]["configuration"].update(separator="/"))),
        "chunk_key_encoding is",
        1,
    ),
    Attack(
        "a shard of a million volumes",
        "cache verify",
        store(
            array(lambda m: m["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(0, 10**6)),
            name="packed.zarr",
        ),
        "chunks of 1000000 volumes",
        1,
    ),
]


def zipped(*given: Any, **changes: Any):
    return lambda scene: [str(with_member(scene, *given, **changes))]


def truncated_zip(scene: Scene) -> list[str]:
    path = scene.archived("store.zip")
    path.write_bytes(path.read_bytes()[:-50])
    return [str(path)]


def nested_bomb(scene: Scene) -> list[str]:
    """A packed store in a zip, whose gathered previews are a bomb."""
    source = bomb(scene)
    path = scene.folder / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        packed = scene.archived("packed.zarr")
        for file in sorted(packed.rglob("*")):
            if file.is_file() and file.name != "previews.zip":
                archive.write(file, file.relative_to(packed))
        archive.write(source, "packed/previews.zip")
    return [str(path)]


ZIPS = [
    Attack(
        "a zip of 3 MB that unpacks to 3 GiB",
        "cache inspect",
        lambda s: [str(bomb(s))],
        "unpacks to 3221225472, over 100 times",
    ),
    Attack(
        "a zip of 3 MB that unpacks to 3 GiB",
        "cache import",
        to(lambda s: [str(bomb(s))]),
        "over 100 times",
        check=nothing_made,
    ),
    Attack("a bomb in a zip in a zip", "cache verify", nested_bomb, "over 100 times", 1),
    Attack(
        "a zip with a member ../x",
        "cache import",
        to(zipped("../outside/x")),
        "could lie outside a store",
        check=nothing_made,
    ),
    Attack("a zip with a member /etc/x", "cache inspect", zipped("/etc/x"), "could lie outside a store"),
    Attack("a zip with a member a\\..\\x", "cache inspect", zipped("a\\..\\x"), "could lie outside a store"),
    Attack(
        "a zip with a link",
        "cache verify",
        zipped("records/x.json", mode=as_link()),
        "that is a link or device",
    ),
    Attack("a zip with an encrypted member", "cache inspect", zipped("x", flag_bits=1), "encrypted member"),
    Attack(
        "a zip with two headers",
        "train",
        lambda s: pipeline(
            lambda s, p: s.archived("store.zip") and with_member(s, "header.json"), "store.zip"
        )(s),
        "two members 'header.json'",
    ),
    Attack(
        "a zip that says a member is an exbibyte",
        "cache inspect",
        zipped("x", file_size=2**60),
        "1 bytes are 1152921504606846976 unpacked",
    ),
    Attack(
        "a zip with a member in LZMA",
        "cache inspect",
        zipped("x", compress_type=zipfile.ZIP_LZMA),
        "neither stored nor deflated",
    ),
    Attack(
        "a zip whose members overlap",
        "cache inspect",
        zipped("x", b"y" * 10, header_offset=0, compress_size=150_000, file_size=150_000),
        "members that overlap",
    ),
    Attack("a zip that was cut", "cache verify", truncated_zip, "no zip archive, or a truncated one"),
]
EXPORTS = [
    *[
        Attack(
            f"cls of an .h5 is behind an {kind}" if kind[0] == "e" else f"cls of an .h5: {kind}",
            verb,
            h5(h5_elsewhere(kind)),
            says,
        )
        for kind, verb, says in (
            ("external link", "cache inspect", "behind a external link"),
            ("soft link", "cache verify", "behind a soft link"),
            ("external storage", "cache inspect", "keeps its numbers in another file"),
            ("virtual", "cache verify", "is a virtual one"),
            ("filter", "cache inspect", "has a filter"),
            ("compound", "cache verify", "is not cut by volumes|holds"),
        )
    ],
    Attack("checksums of an .h5 that say 73 TB", "cache inspect", h5(h5_huge), "numbers in .* bytes"),
    Attack("an .h5 whose index is text of any length", "cache verify", h5(h5_strings), "holds object"),
    Attack(
        "an .h5 whose index names ../x",
        "cache pack",
        to(h5(h5_index(lambda i: i.update({"failures/../../x": ["root", 0, 1]}))), "--out"),
        "the index names",
        check=nothing_made,
    ),
    Attack(
        "an .h5 whose index points outside",
        "cache inspect",
        h5(h5_index(lambda i: i["header.json"].__setitem__(2, 2**60))),
        "points outside the file",
    ),
    Attack(
        "an .h5 whose index counts from -1",
        "cache inspect",
        h5(h5_index(lambda i: i["header.json"].__setitem__(1, -1))),
        "points outside the file",
    ),
    Attack("an .h5 with odd attributes", "cache verify", h5(h5_odd_attributes), "all right", 0),
]
PICTURES = [
    Attack(
        f"a preview that is {what}",
        "cache verify",
        store(first(previews, lambda s, p, data=data: p.write_bytes(data))),
        says,
        1,
    )
    for what, data, says in (
        ("a page", b"<script>alert(1)</script>", "do not begin as a PNG does"),
        ("a page behind a picture", png(behind=b"<script>"), "something behind its end"),
        ("60,000 pixels wide", png(60_000, 1), "8192 a side at most"),
        ("a bomb", png(8, 8, bytes(50_000_000)), "more or fewer pixels"),
    )
] + [
    Attack(
        "a preview that is a page",
        "cache export",
        to(store(first(previews, lambda s, p: p.write_bytes(b"<script>"))), "--previews", out="x.h5"),
        "is no picture",
    ),
    Attack(
        "a packed preview that is a page",
        "cache verify",
        store(packed_preview("0" * 64 + ".png", b"<script>"), name="packed.zarr"),
        "is no picture",
        1,
    ),
]

ATTACKS = [*NAMES, *LINKS, *JSON, *NUMBERS, *CODECS, *ZIPS, *EXPORTS, *PICTURES]
