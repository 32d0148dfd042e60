"""Stores from strangers: names that lead out, and links, pipes and hard links in place of files."""

import base64
import os
from pathlib import Path
from typing import Any

from attacks.scene import SECRET, Answer, Attack, Scene
from attacks.scene_foreign import (
    Spoil,
    first,
    link,
    nothing_made,
    packed_preview,
    pipeline,
    predicted,
    store,
    to,
)
from attacks.scene_hostile import edit, png, previews, records


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


def no_secret_in_report(scene: Scene, answer: Answer) -> None:
    report = (scene.folder / "run" / "train" / "report.html").read_text()
    assert base64.b64encode(SECRET.encode()).decode() not in report
    assert "leaves out the preview" in (scene.folder / "run" / "train" / "log.txt").read_text()


def theirs_is_there(scene: Scene, answer: Answer) -> None:
    assert (scene.outside / "theirs.bin").exists()


DOTS = "../outside/other.zarr/cls"
LINK = r"is a symbolic link: nothing inside a store is followed"

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

ATTACKS = [*NAMES, *LINKS]
