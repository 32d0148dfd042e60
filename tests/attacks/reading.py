"""Whole chunks in the wrong place: all their own checksums are right, and the numbers are somebody else's."""

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from attacks.scene import Attack, Scene, run
from cache_schema.files.chunks.chunk import CHECKSUM, encode
from cache_schema.files.chunks.shards import read_index, shard_blocks
from cache_schema.files.locate import open_objects
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.layout import SEALED_INDEX, record_name
from cache_schema.format.record import VolumeDraft
from cache_schema.store.reader import open_store
from cache_schema.store.writer import StoreWriter

Fault = Callable[[Scene], Path]
"""Makes a store in the scene and spoils it."""
FIRST, SECOND = 5, 6
"""Places of the two volumes that are mixed up: of equal length, and scored by the archive's detectors."""
NOT_THOSE = "its numbers are not those that were committed"
NOT_WRITTEN = "the numbers are not those that were written"


def chunk_file(store: Path, array: str, place: int, block: int = 0) -> Path:
    """A chunk's file, by the place of its volume among the committed ones."""
    reader = open_store(store)
    return store / reader.layout(array).chunk_name(reader.entries[place].row, block)


def swap(first: Path, second: Path) -> None:
    """Exchange two files."""
    one, other = first.read_bytes(), second.read_bytes()
    assert one != other
    first.write_bytes(other)
    second.write_bytes(one)


def edit_record(store: Path, place: int, change: Callable[[dict], None]) -> None:
    """Change a record and renew its own hash."""
    path = store / record_name(open_store(store).entries[place].key)
    raw = json.loads(path.read_bytes())
    change(raw)
    body = {name: value for name, value in raw.items() if name != "sha256"}
    path.write_bytes(canonical_json({**body, "sha256": sha256_json(body)}))


def rewritten(scene: Scene, name: str, slice_chunk: int = 0, arrays: Sequence[str] = ()) -> Path:
    """The extracted store written anew, with chunks of another length or fewer arrays."""
    source = open_store(scene.extracted())
    specs = tuple(spec for spec in source.header.arrays if not arrays or spec.name in arrays)
    changes = {"slice_chunk": slice_chunk or source.header.slice_chunk, "arrays": specs}
    writer = StoreWriter.open(
        str(scene.folder / name), source.header.model_copy(update=changes), source.table()
    )
    for entry in source.entries:
        draft = VolumeDraft(**source.record(entry.key).model_dump(include=set(VolumeDraft.model_fields)))
        writer.commit(draft, {spec.name: source.read_volume(spec.name, entry.key) for spec in specs})
    return scene.folder / name


def two_volumes(array: str) -> Fault:
    def spoil(scene: Scene) -> Path:
        store = scene.extracted()
        swap(chunk_file(store, array, FIRST), chunk_file(store, array, SECOND))
        return store

    return spoil


def two_arrays(scene: Scene) -> Path:
    store = scene.extracted()
    swap(chunk_file(store, "cls", FIRST), chunk_file(store, "cls_l02", FIRST))
    return store


def older(array: str) -> Fault:
    """A chunk as an earlier extraction of the same volume would have left it."""

    def spoil(scene: Scene) -> Path:
        store = scene.extracted()
        reader = open_store(store)
        numbers = reader.read_volume(array, reader.entries[FIRST].key).copy()
        numbers[-1] *= 1.5
        chunk_file(store, array, FIRST).write_bytes(encode(reader.layout(array), numbers))
        return store

    return spoil


def another_store(scene: Scene) -> Path:
    """The same volume's chunk of a store that another backbone made; shape and checksum are right."""
    store = scene.extracted()
    other = scene.archived("pipeline.yaml")
    made = run("extract", [other, "--set", "cache.store=other.zarr", "--set", "extract.backbone.seed=1"])
    assert made.code == 1, made.text
    shutil.copy(chunk_file(scene.folder / "other.zarr", "cls", FIRST), chunk_file(store, "cls", FIRST))
    return store


def two_blocks(array: str) -> Fault:
    def spoil(scene: Scene) -> Path:
        store = rewritten(scene, "blocks.zarr", slice_chunk=2)
        swap(chunk_file(store, array, FIRST, 0), chunk_file(store, array, FIRST, 1))
        return store

    return spoil


def shard_entries(array: str) -> Fault:
    """Two volumes' offsets exchanged in a shard's index, whose checksum is renewed."""

    def spoil(scene: Scene) -> Path:
        store = scene.folder / "packed.zarr"
        run("cache pack", [scene.extracted(), "--out", store])
        reader = open_store(store)
        layout, rows = reader.layout(array), [reader.entries[place].row for place in (FIRST, SECOND)]
        path = store / layout.shard_name(rows[0])
        with open_objects(str(store)).opened(layout.shard_name(rows[0]), parts=True) as opened:
            index = read_index(opened, layout, "shard").copy()
        index[[rows[0], rows[1]]] = index[[rows[1], rows[0]]]
        body = index.tobytes()
        assert index.shape[1] == shard_blocks(layout)
        import google_crc32c

        whole = path.read_bytes()[: -len(body) - CHECKSUM.size]
        path.write_bytes(whole + body + CHECKSUM.pack(google_crc32c.value(body)))
        return store

    return spoil


def in_h5(scene: Scene) -> Path:
    """Two volumes exchanged in an export, with the checksums beside them."""
    import h5py

    out = scene.folder / "taken.h5"
    assert run("cache export", [scene.extracted(), out]).code == 0
    with h5py.File(out, "r+") as file:
        for data in (file["cls"], file["checksums/cls"]):
            data[[FIRST, SECOND]] = data[[FIRST, SECOND]][::-1]
    return out


def in_zip(scene: Scene) -> Path:
    out = scene.folder / "taken.zip"
    store = two_volumes("cls")(scene)
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(path for path in store.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(store))
    return out


def another_record(scene: Scene) -> Path:
    """A volume's record copied over another's."""
    store = scene.extracted()
    entries = open_store(store).entries
    shutil.copy(*(store / record_name(entries[place].key) for place in (FIRST, SECOND)))
    return store


def rows_exchanged(scene: Scene) -> Path:
    """Two records say each other's row; their own hashes are renewed."""
    store = scene.extracted()
    rows = [open_store(store).entries[place].row for place in (FIRST, SECOND)]
    path = [store / record_name(open_store(store).entries[place].key) for place in (FIRST, SECOND)]
    for file, row in zip(path, reversed(rows), strict=True):
        raw = json.loads(file.read_bytes())
        body = {name: value for name, value in raw.items() if name != "sha256"} | {"row": row}
        file.write_bytes(canonical_json({**body, "sha256": sha256_json(body)}))
    return store


def fewer_slices(scene: Scene) -> Path:
    """A record that keeps one slice less than were committed."""
    store = scene.extracted()

    def cut(raw: dict) -> None:
        raw["slices"] |= {name: raw["slices"][name][:-1] for name in ("index", "height_mm", "world_z_mm")}

    edit_record(store, FIRST, cut)
    return store


def proofs_of_another(scene: Scene) -> Path:
    """A record that states of `cls` what is true of `cls_l02`, with the chunk to match."""
    store = scene.extracted()
    edit_record(store, FIRST, lambda raw: raw["arrays"].update(cls=raw["arrays"]["cls_l02"]))
    shutil.copy(chunk_file(store, "cls_l02", FIRST), chunk_file(store, "cls", FIRST))
    return store


def rows_in_the_index(scene: Scene) -> Path:
    """Two rows exchanged in a sealed index, whose hash is renewed."""
    store = rewritten(scene, "sealed.zarr")
    assert run("cache remove", [store, "sub-09"]).code == 0
    assert run("cache seal", [store]).code == 0
    raw = json.loads((store / SEALED_INDEX).read_bytes())
    raw["row"][FIRST], raw["row"][SECOND] = raw["row"][SECOND], raw["row"][FIRST]
    body = {name: value for name, value in raw.items() if name != "sha256"}
    (store / SEALED_INDEX).write_bytes(canonical_json({**body, "sha256": sha256_json(body)}))
    return store


def record_of_before(*arrays: str) -> Fault:
    """A store of records that state nothing of their arrays, as version 1.0 wrote them, and a swap."""

    def spoil(scene: Scene) -> Path:
        store = rewritten(scene, "before.zarr", arrays=arrays)
        for place in range(len(open_store(store).entries)):
            edit_record(store, place, lambda raw: raw.pop("arrays"))
        swap(chunk_file(store, "cls", FIRST), chunk_file(store, "cls", SECOND))
        return store

    return spoil


def archived(scene: Scene) -> Path:
    """Version 1.0's own store, with a swap."""
    store = scene.archived("sealed.zarr")
    swap(chunk_file(store, "cls", FIRST), chunk_file(store, "cls", SECOND))
    return store


def pipeline(fault: Fault, *more: str) -> Callable[[Scene], Sequence[str]]:
    """Arguments of a verb that takes a pipeline, with small settings."""

    def arrange(scene: Scene) -> Sequence[str]:
        store = fault(scene)
        scene.archived("images")
        given = [f"cache.store={store.name}", "aggregate.folds.n=2", "aggregate.train.epochs=1"]
        return [
            str(scene.archived("pipeline.yaml")),
            *(word for value in given for word in ("--set", value)),
            *more,
        ]

    return arrange


def bundle(name: str, fault: Fault, *more: str) -> Callable[[Scene], Sequence[str]]:
    """Arguments of `predict`."""
    return lambda scene: [str(scene.archived(name)), str(fault(scene)), *more]


def place(fault: Fault, *more: str) -> Callable[[Scene], Sequence[str]]:
    """Arguments of a verb that takes a store."""
    return lambda scene: [str(fault(scene)), *(word.format(scene.folder) for word in more)]


def to(name: str) -> str:
    """A place in the scene to write to."""
    return "{}/" + name


def recomputing(fault: Fault) -> Callable[[Scene], Sequence[str]]:
    def arrange(scene: Scene) -> Sequence[str]:
        store = fault(scene)
        return [str(store), "--slices", "1000", "--pipeline", str(scene.archived("pipeline.yaml"))]

    return arrange


ABLATE = (
    "--set",
    "aggregate.ablate={configurations: {a: {head.kind: mean}, b: {}}, reference: a}",
)
DETECT = ("--set", "aggregate.detect.detectors=[{kind: mahalanobis, shrinkage: 0.1, dims: 5}]")
SHA = ("--prove", "sha256")


def of(array: str, text: str = NOT_THOSE) -> str:
    """Volume and array are named."""
    return rf"volume sub-0\d/\S*, array '{array}': .*{text}"


def row(array: str, text: str = NOT_WRITTEN) -> str:
    """A problem of `verify` that names volume and array."""
    return rf"sub-0\d/\S* +{array} +{text}"


def made_again(array: str) -> str:
    """A problem of `recompute` that names volume and array."""
    return rf"sub-0\d/\S*, {array}: .*{NOT_THOSE} .SHA-256"


ATTACKS = [
    Attack("chunks of two volumes swapped", "train", pipeline(two_volumes("cls")), of("cls")),
    Attack("chunks of two volumes swapped", "ablate", pipeline(two_volumes("cls"), *ABLATE), of("cls")),
    Attack(
        "chunks of two volumes swapped", "detect", pipeline(two_volumes("patches"), *DETECT), of("patches")
    ),
    Attack("chunks of two volumes swapped", "predict", bundle("train", two_volumes("cls")), of("cls")),
    Attack(
        "chunks of two volumes swapped, detectors",
        "predict",
        bundle("detect", two_volumes("patches")),
        of("patches"),
    ),
    Attack(
        "foreground of two volumes swapped, detectors",
        "predict",
        bundle("detect", two_volumes("foreground")),
        of("foreground"),
    ),
    Attack("chunks of two volumes swapped", "cache verify", place(two_volumes("cls")), row("cls"), 1),
    Attack(
        "patch_mean of two volumes swapped",
        "cache verify",
        place(two_volumes("patch_mean")),
        row("patch_mean"),
        1,
    ),
    Attack("chunks of two volumes swapped", "cache export", place(two_volumes("cls"), to("x.h5")), of("cls")),
    Attack(
        "chunks of two volumes swapped, a file per volume",
        "cache export",
        place(two_volumes("cls"), to("x"), "--format", "volumes"),
        of("cls"),
    ),
    Attack(
        "chunks of two volumes swapped", "cache import", place(two_volumes("cls"), to("x.zarr")), of("cls")
    ),
    Attack("chunks of two volumes swapped", "cache pack", place(two_volumes("cls")), of("cls")),
    Attack(
        "chunks of two volumes swapped",
        "recompute",
        recomputing(two_volumes("cls")),
        made_again("cls"),
        1,
    ),
    Attack(
        "chunks of two volumes swapped, --prove",
        "train",
        pipeline(two_volumes("cls"), *SHA),
        of("cls", ".*SHA-256"),
    ),
    Attack(
        "chunks of two volumes swapped, --prove",
        "predict",
        bundle("train", two_volumes("cls"), *SHA),
        of("cls", ".*SHA-256"),
    ),
    Attack(
        "chunks of two volumes swapped, --prove",
        "detect",
        pipeline(two_volumes("patches"), *DETECT, *SHA),
        of("patches", ".*SHA-256"),
    ),
    Attack("chunks of two arrays swapped", "train", pipeline(two_arrays), of("cls")),
    Attack("chunks of two arrays swapped", "cache verify", place(two_arrays), row("cls_l02"), 1),
    Attack("an older chunk of the same volume", "predict", bundle("train", older("cls")), of("cls")),
    Attack("an older chunk of the same volume", "detect", pipeline(older("patches"), *DETECT), of("patches")),
    Attack(
        "an older chunk of the same volume",
        "cache verify",
        place(older("cls_attention")),
        row("cls_attention"),
        1,
    ),
    Attack("a chunk of another store", "train", pipeline(another_store), of("cls")),
    Attack("two blocks of one volume swapped", "train", pipeline(two_blocks("cls")), of("cls")),
    Attack(
        "two blocks of one volume swapped", "detect", pipeline(two_blocks("patches"), *DETECT), of("patches")
    ),
    Attack(
        "two blocks of one volume swapped", "predict", bundle("detect", two_blocks("patches")), of("patches")
    ),
    Attack(
        "two blocks of one volume swapped", "cache verify", place(two_blocks("patches")), row("patches"), 1
    ),
    Attack(
        "two blocks of one volume swapped",
        "recompute",
        recomputing(two_blocks("cls")),
        made_again("cls"),
        1,
    ),
    Attack("a shard's index entries swapped", "train", pipeline(shard_entries("cls")), of("cls")),
    Attack("a shard's index entries swapped", "predict", bundle("train", shard_entries("cls")), of("cls")),
    Attack(
        "a shard's index entries swapped",
        "detect",
        pipeline(shard_entries("patches"), *DETECT),
        of("patches"),
    ),
    Attack("a shard's index entries swapped", "cache verify", place(shard_entries("cls")), row("cls"), 1),
    Attack("a shard's index entries swapped", "cache unpack", place(shard_entries("cls")), of("cls")),
    Attack("two volumes exchanged in an .h5", "train", pipeline(in_h5), of("cls")),
    Attack("two volumes exchanged in an .h5", "predict", bundle("train", in_h5), of("cls")),
    Attack("two volumes exchanged in an .h5", "cache import", place(in_h5, to("x.zarr")), of("cls")),
    Attack("two volumes exchanged in an .h5", "cache verify", place(in_h5), row("cls"), 1),
    Attack("two volumes exchanged in a zip", "predict", bundle("train", in_zip), of("cls")),
    Attack("two volumes exchanged in a zip", "cache verify", place(in_zip), row("cls"), 1),
    Attack("a volume's record under another's name", "train", pipeline(another_record), "copied or renamed"),
    Attack(
        "a volume's record under another's name", "cache inspect", place(another_record), "copied or renamed"
    ),
    Attack("a volume's record under another's name", "cache seal", place(another_record), "is not complete"),
    Attack(
        "a volume's record under another's name",
        "cache verify",
        place(another_record),
        "record of another volume",
        1,
    ),
    Attack("rows of two records exchanged", "train", pipeline(rows_exchanged), of("cls")),
    Attack("rows of two records exchanged", "cache verify", place(rows_exchanged), "the record says row", 1),
    Attack("a record with a slice less", "predict", bundle("train", fewer_slices), of("cls")),
    Attack("a record with a slice less", "cache verify", place(fewer_slices), "are not empty", 1),
    Attack("a record that proves another array", "train", pipeline(proofs_of_another), of("cls")),
    Attack("rows exchanged in a sealed index", "predict", bundle("train", rows_in_the_index), of("cls")),
    Attack(
        "rows exchanged in a sealed index",
        "cache verify",
        place(rows_in_the_index),
        "the sealed index says",
        1,
    ),
    Attack(
        "records of before, two volumes swapped",
        "train",
        pipeline(record_of_before("cls", "patch_mean")),
        of("cls", ".*volume digest"),
    ),
    Attack(
        "records of before with patches, two volumes swapped",
        "predict",
        bundle("train", record_of_before(), *SHA),
        of("cls", ".*volume digest"),
    ),
    Attack(
        "version 1.0's own store, two volumes swapped",
        "train",
        pipeline(archived, *SHA),
        of("cls", ".*volume digest"),
    ),
    Attack("version 1.0's own store, two volumes swapped", "cache verify", place(archived), row("cls"), 1),
]
