"""Somebody who was withdrawn does not come back: not by a verb, not by hand, not by a spoilt tombstone."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from attacks.scene import Answer, Attack, Scene, run
from cache_schema.files.objects import LocalObjects
from cache_schema.format.identity import VolumeKey
from cache_schema.format.layout import preview_name, record_name
from cache_schema.move.pack import pack as pack_store
from cache_schema.store.reader import open_store
from cache_schema.store.seal import seal as seal_store
from cache_schema.store.withdrawn import bury

WHO = "sub-03"
"""The participant that is withdrawn; nine others stay, of whom one failed."""
KEY = VolumeKey(WHO, "ses-01", "T1w")


def removed(scene: Scene, *, sealed: bool = False, packed: bool = False) -> Path:
    """A store from which somebody was removed, images still there; `before.zarr` is from before."""
    store = scene.extracted()
    if sealed or packed:
        seal_store(str(store))
    shutil.copytree(store, scene.folder / "before.zarr")
    if packed:
        pack_store(str(store))
    answer = run("cache remove", [str(store), WHO])
    assert answer.code == 0, answer.text
    return store


def put_back(scene: Scene, *names: str) -> None:
    """Copy objects of the store from before."""
    for name in names:
        target = scene.folder / "unsealed.zarr" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(scene.folder / "before.zarr" / name, target)


def tombstone(store: Path) -> Path:
    return next((store / "withdrawn").iterdir())


def pipeline(scene: Scene, *options: str) -> list[str]:
    return [str(scene.folder / "pipeline.yaml"), *options]


def people(store: Path) -> set[str]:
    return {entry.key.participant_id for entry in open_store(str(store)).entries}


def still_out(scene: Scene, answer: Answer) -> None:
    store = open_store(str(scene.folder / "unsealed.zarr"))
    assert WHO not in {entry.key.participant_id for entry in store.entries}
    assert len(store.entries) == 8
    assert WHO not in {row.participant_id for row in store.table()}
    assert len(store.tombstones()) == 1


def back_again(scene: Scene, answer: Answer) -> None:
    store = open_store(str(scene.folder / "unsealed.zarr"))
    assert len(store.entries) == 9
    assert len(store.tombstones()) == 0
    assert store.content_digest() == open_store(str(scene.folder / "before.zarr")).content_digest()
    assert run("cache verify", ["--full", store.location]).code == 0


def extracting(*options: str) -> Callable[[Scene], Sequence[str]]:
    def arrange(scene: Scene) -> Sequence[str]:
        removed(scene)
        return pipeline(scene, *options)

    return arrange


def spoilt(damage: Callable[[Path], None], *arguments: str) -> Callable[[Scene], Sequence[str]]:
    """Damage the tombstone; the arguments are the store, or the pipeline when `pipeline` is given."""

    def arrange(scene: Scene) -> Sequence[str]:
        store = removed(scene)
        damage(tombstone(store))
        return pipeline(scene) if arguments == ("pipeline",) else [str(store), *arguments]

    return arrange


def restored(*names: str, verb: Sequence[str] = (), **form: bool) -> Callable[[Scene], Sequence[str]]:
    """Put objects from before the removal back by hand."""

    def arrange(scene: Scene) -> Sequence[str]:
        store = removed(scene, **form)
        put_back(scene, *names)
        return pipeline(scene) if verb == ("pipeline",) else [*verb, str(store)]

    return arrange


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def renamed(path: Path) -> None:
    path.rename(path.with_name("0" * 64 + ".json"))


def of_another_name(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"participant_sha256": "ab" * 32}))


def with_a_name(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"participant_id": WHO}))


def a_stranger(path: Path) -> None:
    path.with_name("README.txt").write_text("who is in here?")


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def linked_folder(scene: Scene, *, verb: str = "") -> Sequence[str]:
    """The folder of tombstones leads outside."""
    store = scene.extracted()
    (store / "withdrawn").symlink_to(scene.outside)
    return pipeline(scene) if verb == "pipeline" else [str(store), *([WHO] if verb == "remove" else [])]


def forged_stranger(scene: Scene) -> Sequence[str]:
    """Of somebody who was never there."""
    store = scene.extracted()
    bury(LocalObjects(store), "nobody-of-ours")
    return [str(store)]


def forged_for_all(scene: Scene) -> Sequence[str]:
    """A tombstone without a removal: the records are still there."""
    store = scene.extracted()
    bury(LocalObjects(store), WHO)
    return [str(store)]


def unfinished(scene: Scene) -> Sequence[str]:
    """A removal that was killed after its first step, of a store that is complete."""
    store = scene.extracted()
    bury(LocalObjects(store), WHO)
    return [str(store)]


def table_back(scene: Scene) -> Sequence[str]:
    return restored("table/000000.json")(scene)


def nothing_else_was_lost(scene: Scene, answer: Answer) -> None:
    assert len(people(scene.folder / "unsealed.zarr")) == 8


def imported(scene: Scene) -> Sequence[str]:
    """An export of a store whose removal was killed: the record travels only if the reader shows it."""
    store = scene.extracted()
    bury(LocalObjects(store), WHO)
    return [str(store), str(scene.folder / "copy.zarr")]


def copy_is_without(scene: Scene, answer: Answer) -> None:
    copy = open_store(str(scene.folder / "copy.zarr"))
    assert len(copy.entries) == 8
    assert len(copy.tombstones()) == 1
    assert run("cache verify", ["--full", copy.location]).code == 0


def exported(scene: Scene, *options: str) -> Sequence[str]:
    removed(scene)
    return [str(scene.folder / "unsealed.zarr"), str(scene.folder / "out.h5"), *options]


def export_keeps_it(scene: Scene, answer: Answer) -> None:
    assert len(open_store(str(scene.folder / "out.h5")).tombstones()) == 1


def export_tells_nothing(scene: Scene, answer: Answer) -> None:
    assert len(open_store(str(scene.folder / "out.h5")).tombstones()) == 0


def packed_keeps_it(scene: Scene, answer: Answer) -> None:
    still_out(scene, answer)
    assert run("cache verify", ["--full", str(scene.folder / "unsealed.zarr")]).code == 0


def then(verb: str, **form: bool) -> Callable[[Scene], Sequence[str]]:
    def arrange(scene: Scene) -> Sequence[str]:
        store = removed(scene, **form)
        if verb != "cache verify":
            return [str(store)]
        return ["--full", str(store)]

    return arrange


def again(scene: Scene) -> Sequence[str]:
    return [str(removed(scene)), WHO]


def image_gone(scene: Scene) -> Sequence[str]:
    removed(scene)
    shutil.rmtree(scene.folder / "images" / WHO)
    return pipeline(scene, "--readmit", WHO)


LEFT_OUT = rf"1 volume of 1 withdrawn participant \({WHO}\) is left out"
SAYS_WITHDRAWN = r"the participant was withdrawn, and this is still there.*cache remove STORE PARTICIPANT"
NO_TOMBSTONE = r"withdrawn/\w+\.(json|txt) is no tombstone: it is damaged"

ATTACKS = [
    # by a verb; one of the images is constant, hence exit 1 where others are embedded
    Attack("withdrawn, then again", "extract", extracting(), LEFT_OUT, 1, check=still_out),
    Attack("withdrawn, with --replace", "extract", extracting("--replace"), LEFT_OUT, 1, check=still_out),
    Attack(
        "withdrawn, --json",
        "extract",
        extracting("--json"),
        rf'"withdrawn": {{"volumes": 1, "participants": \["{WHO}"',
        1,
        check=still_out,
    ),
    Attack("withdrawn", "plan", extracting(), LEFT_OUT, 0),
    Attack(
        "withdrawn, --json",
        "plan",
        extracting("--json"),
        rf'"withdrawn": {{"volumes": 1, "participants": \["{WHO}"',
        0,
    ),
    Attack(
        "withdrawn, taken back",
        "extract",
        extracting("--readmit", WHO),
        "1 volume embedded, 8 already",
        1,
        check=back_again,
    ),
    Attack(
        "taken back who was not withdrawn",
        "extract",
        extracting("--readmit", "sub-04"),
        "'sub-04' was not withdrawn from",
    ),
    Attack(
        "taken back who is nobody",
        "extract",
        extracting("--readmit", "99"),
        "the input has no volume of participant '99'",
        check=still_out,
    ),
    Attack(
        "taken back without an image",
        "extract",
        image_gone,
        "the input has no volume of participant 'sub-03'",
        check=still_out,
    ),
    Attack("withdrawn before", "cache remove", again, "nothing, it was withdrawn before", 0, check=still_out),
    Attack("withdrawn", "cache verify", then("cache verify"), "all right", 0),
    Attack("withdrawn", "cache inspect", then("cache inspect"), "1 participant was taken out", 0),
    Attack("withdrawn", "cache seal", then("cache seal"), "8 volumes", 0, check=packed_keeps_it),
    Attack("withdrawn", "cache pack", then("cache pack"), "8 volumes", 0, check=packed_keeps_it),
    Attack(
        "withdrawn from a packed store", "cache verify", then("cache verify", packed=True), "all right", 0
    ),
    Attack(
        "withdrawn from a packed store",
        "cache unpack",
        then("cache unpack", packed=True),
        "8 volumes",
        0,
        check=packed_keeps_it,
    ),
    Attack("withdrawn", "cache export", exported, "8 volumes", 0, check=export_keeps_it),
    Attack(
        "withdrawn, under pseudonyms",
        "cache export",
        lambda s: exported(s, "--pseudonymise"),
        "8 volumes",
        0,
        check=export_tells_nothing,
    ),
    # the removal was killed, or a tombstone forged
    Attack("a removal that was killed", "cache verify", unfinished, SAYS_WITHDRAWN, 1),
    Attack("a removal that was killed", "cache inspect", unfinished, "8 of 9 planned", 0),
    Attack("a removal that was killed", "cache seal", unfinished, rf"still holds '{WHO}', who was withdrawn"),
    Attack("a removal that was killed", "cache pack", unfinished, rf"still holds '{WHO}', who was withdrawn"),
    Attack("a removal that was killed", "cache import", imported, "8 volumes", 0, check=copy_is_without),
    Attack(
        "a removal that was killed",
        "cache remove",
        lambda s: [*unfinished(s), WHO],
        f"removed from .*: {KEY}",
        0,
        check=still_out,
    ),
    Attack("a tombstone of somebody never there", "cache verify", forged_stranger, "9 volumes.*all right", 0),
    # put back by hand
    Attack(
        "a record put back", "cache verify", restored(record_name(KEY)), SAYS_WITHDRAWN, 1, check=still_out
    ),
    Attack(
        "a record put back",
        "cache seal",
        restored(record_name(KEY)),
        rf"still holds '{WHO}', who was withdrawn",
    ),
    Attack(
        "a record put back",
        "extract",
        restored(record_name(KEY), verb=("pipeline",)),
        LEFT_OUT,
        1,
        check=still_out,
    ),
    Attack("the table put back", "cache verify", table_back, SAYS_WITHDRAWN, 1),
    Attack(
        "the table put back",
        "extract",
        lambda s: (table_back(s), pipeline(s))[1],
        LEFT_OUT,
        1,
        check=still_out,
    ),
    Attack(
        "a chunk put back",
        "cache verify",
        restored("cls/c.3.0.0", verb=("--full",)),
        "row 3, which was withdrawn",
        1,
    ),
    Attack(
        "a chunk put back",
        "cache remove",
        lambda s: [*restored("cls/c.3.0.0")(s), WHO],
        "withdrawn before",
        0,
        check=packed_keeps_it,
    ),
    Attack(
        "a preview put back",
        "cache verify",
        restored(preview_name(KEY), verb=("--full",)),
        "is a preview of a volume that the table does not have",
        1,
    ),
    Attack(
        "the sealed copy put back",
        "cache verify",
        restored("sealed/index.json", "sealed/records.jsonl", sealed=True),
        "its record is missing",
        1,
    ),
    Attack(
        "the sealed copy put back",
        "cache inspect",
        restored("sealed/index.json", "sealed/records.jsonl", sealed=True),
        "8 of 9 planned",
        0,
        check=still_out,
    ),
    # spoilt tombstones
    Attack("a tombstone cut short", "extract", spoilt(cut, "pipeline"), NO_TOMBSTONE),
    Attack("a tombstone cut short", "cache verify", spoilt(cut), NO_TOMBSTONE, 1),
    Attack("an empty tombstone", "plan", spoilt(empty, "pipeline"), NO_TOMBSTONE),
    Attack("an empty tombstone", "cache inspect", spoilt(empty), NO_TOMBSTONE),
    Attack("an empty tombstone", "cache remove", spoilt(empty, WHO), NO_TOMBSTONE),
    Attack(
        "a tombstone under another name",
        "extract",
        spoilt(renamed, "pipeline"),
        "is the tombstone of another name",
    ),
    Attack(
        "a tombstone of another hash",
        "cache seal",
        spoilt(of_another_name),
        "is the tombstone of another name",
    ),
    Attack("a tombstone that says a name", "cache pack", spoilt(with_a_name), NO_TOMBSTONE),
    Attack("a tombstone nested without end", "extract", spoilt(nested, "pipeline"), NO_TOMBSTONE),
    Attack("something else among the tombstones", "cache verify", spoilt(a_stranger), NO_TOMBSTONE, 1),
    Attack("tombstones behind a link", "extract", lambda s: linked_folder(s, verb="pipeline"), "link"),
    Attack("tombstones behind a link", "cache remove", lambda s: linked_folder(s, verb="remove"), "link"),
    Attack("tombstones behind a link", "cache verify", linked_folder, "link", 1),
]
