"""Zips, exports and pictures from strangers."""

import json
import zipfile
from collections.abc import Callable
from typing import Any

from attacks.scene import SECRET, Attack, Scene
from attacks.scene_foreign import (
    first,
    nothing_made,
    packed_preview,
    pipeline,
    store,
    to,
)
from attacks.scene_hostile import Edit, as_link, bomb, png, previews, with_member


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


def h5_nowhere(file: Any, scene: Scene) -> None:
    """Checksums of which not a byte was written: HDF5 makes zeros of them."""
    shape = file["checksums/cls"].shape
    del file["checksums/cls"]
    file.create_dataset("checksums/cls", shape, "<i8")


def h5_cut_checksums(file: Any, scene: Scene) -> None:
    values = file["checksums/cls"][:]
    del file["checksums/cls"]
    file.create_dataset("checksums/cls", data=values, chunks=(1, 1))


def h5_behind_a_block(scene: Scene) -> list[str]:
    """An export that begins with 512 bytes of something else."""
    import h5py

    path = scene.folder / "block.h5"
    with h5py.File(scene.archived("store.h5")) as file, h5py.File(path, "w", userblock_size=512) as other:
        for name in file:
            file.copy(name, other)
    return [str(path)]


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
            ("external link", "cache inspect", "behind an external link"),
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
    Attack("checksums of an .h5 that lie nowhere", "cache verify", h5(h5_nowhere), "has no place of its own"),
    Attack("checksums of an .h5 that are cut", "cache inspect", h5(h5_cut_checksums), "is cut in chunks"),
    Attack("an .h5 behind a user block", "cache inspect", h5_behind_a_block, "begins with a user block"),
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


ATTACKS = [*ZIPS, *EXPORTS, *PICTURES]
