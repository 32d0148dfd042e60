"""What goes into stage one: odd files, files that change, tables and trees that say who somebody is twice."""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from made_up_inputs import CHANGES, write_inputs, write_manifest
from odd_files import KINDS, VOXELS, Kind, brain, save

from attacks.scene import Answer, Attack, Scene, run
from cache_schema.store.reader import open_store

PIPELINE = """run: {{folder: run}}
cache: {{store: cache.zarr}}
extract:
  input: {{{input}}}
  canvas: 28
  workers: 0
  dtype: float32
  backbone: {{kind: untrained, size: tiny}}
aggregate: {{cohort: volumes.tsv, target: x}}
"""


def pipeline(scene: Scene, given: str = "manifest: volumes.tsv") -> list[str]:
    """A pipeline file of one input."""
    (scene.folder / "pipeline.yaml").write_text(PIPELINE.format(input=given))
    return [str(scene.folder / "pipeline.yaml")]


def listed(scene: Scene, *rows: str, head: str = "participant_id\tpath") -> list[str]:
    """A manifest of rows, and its pipeline; `good.nii` is there."""
    save(scene.folder / "good.nii", brain(0))
    (scene.folder / "volumes.tsv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return pipeline(scene)


def odd(kind: Kind) -> Callable[[Scene], list[str]]:
    """One good volume, and one of an odd kind."""

    def arrange(scene: Scene) -> list[str]:
        name, make, _ = kind
        make(scene.folder / name)
        return listed(scene, "good\tgood.nii", f"odd\t{name}")

    return arrange


def good_is_in(scene: Scene, answer: Answer) -> None:
    """The others go on, the table has the path as it was given, and the store is whole."""
    store = scene.folder / "cache.zarr"
    assert [entry.key.participant_id for entry in open_store(store).entries] == ["good"]
    row = (scene.folder / "run" / "failures.tsv").read_text().splitlines()[1].split("\t")
    assert (row[0], (scene.folder / row[3]).parent) == ("odd", scene.folder)
    assert run("cache verify", ["--full", str(store)]).code == 0


@lru_cache(maxsize=1)
def _embedded_once() -> Path:
    """Images of every kind and their store, once per process."""
    folder = Path(tempfile.mkdtemp(prefix="attacks"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    answer = run("extract", [str(write_inputs(folder))])
    assert answer.code == 0, answer.text
    return folder


def changed(what: str, *more: str) -> Callable[[Scene], list[str]]:
    """A store, and one of its inputs changed since."""

    def arrange(scene: Scene) -> list[str]:
        shutil.copytree(_embedded_once(), scene.folder, dirs_exist_ok=True)
        CHANGES[what][0](scene.folder)
        return [str(scene.folder / "pipeline.yaml"), *more]

    return arrange


def made_again(what: str) -> Callable[[Scene], list[str]]:
    """The same, for `recompute`."""

    def arrange(scene: Scene) -> list[str]:
        file, *_ = changed(what)(scene)
        return [str(scene.folder / "run" / "cache.zarr"), "--slices", "200", "--pipeline", file]

    return arrange


def nothing_was_embedded(scene: Scene, answer: Answer) -> None:
    """Named, and left as it was."""
    assert "0 volumes embedded" in answer.out
    before = open_store(_embedded_once() / "run" / "cache.zarr").content_digest()
    assert open_store(scene.folder / "run" / "cache.zarr").content_digest() == before


def says_of(what: str) -> str:
    """The sentence of a change."""
    return f"{CHANGES[what][2]} changed since it was embedded; extract with --replace"


def ids(*rows: str, head: str = "participant_id\tpath") -> Callable[[Scene], list[str]]:
    return lambda scene: listed(scene, *rows, head=head)


def tree(*files: str, links: Sequence[tuple[str, str]] = ()) -> Callable[[Scene], list[str]]:
    """A BIDS tree of good volumes, and links `(where, to what)`."""

    def arrange(scene: Scene) -> list[str]:
        for seed, name in enumerate(("sub-01/anat/sub-01_T1w.nii", *files)):
            path = scene.folder / "bids" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, brain(seed))
        for where, target in links:
            (scene.folder / "bids" / where).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, scene.folder / "bids" / where)
        return pipeline(scene, "bids: bids")

    return arrange


def fifo_table(scene: Scene) -> list[str]:
    os.mkfifo(scene.folder / "volumes.tsv")
    return pipeline(scene)


def odd_mask(make: Callable[[Path], object]) -> Callable[[Scene], list[str]]:
    """A good volume with an odd foreground mask."""

    def arrange(scene: Scene) -> list[str]:
        make(scene.folder / "mask.nii")
        return listed(scene, "odd\tgood.nii\tmask.nii", head="participant_id\tpath\tforeground_path")

    return arrange


def mask_gone(scene: Scene) -> list[str]:
    arguments = changed("mask")(scene)
    (scene.folder / "mask.nii.gz").unlink()
    return arguments


def renamed(scene: Scene) -> list[str]:
    arguments = changed("mask")(scene)
    write_manifest(scene.folder, ("twin", "participant_id", "TWIN"))
    return arguments


def older_records(*more: str) -> Callable[[Scene], list[str]]:
    """The archive's store of version 1.0, whose records say nothing of inputs."""

    def arrange(scene: Scene) -> list[str]:
        for name in ("images", "unsealed.zarr"):
            scene.archived(name)
        return [str(scene.archived("pipeline.yaml")), *more]

    return arrange


BY_HEADER = [Attack(kind, "plan", odd(KINDS[kind]), KINDS[kind][2], 1) for kind in KINDS]
BY_VOXELS = [
    Attack(kind, "extract", odd(made), f"odd/.*{made[2]}", 1, check=good_is_in)
    for kind, made in (
        VOXELS | {kind: KINDS[kind] for kind in ("a series", "a fifo", "a git-annex link")}
    ).items()
]
CHANGED = [
    Attack(f"{what} changed", "extract", changed(what), says_of(what), 1, check=nothing_was_embedded)
    for what in CHANGES
]
REMADE = [
    Attack(f"{what} changed", "recompute", made_again(what), says, 1)
    for what, says in {
        "mask": "masked/masked, source: not as it was when it was embedded: its foreground mask",
        "header": "pair/pair, source: not as it was when it was embedded: its header",
        "orientation": "pair/pair, source: not as it was .* its stated orientation .'RAS' then, 'LAS' now.",
        "two images swapped, equal size and time": "plain/plain, source: its file 'plain.nii' has changed",
    }.items()
]
WHO = [
    Attack(
        "ids apart in case",
        "plan",
        ids("s-01\tgood.nii", "S-01\tgood.nii"),
        "'S-01' and 's-01' differ only in",
    ),
    Attack(
        "ids apart in a zero-width space",
        "extract",
        ids("s-01\tgood.nii", "s\u200b-01\tgood.nii"),
        re.escape(r"the participants 's-01' and 's\u200b-01' differ only in case, width or invisible"),
        check=lambda scene, answer: _no_store(scene),
    ),
    Attack(
        "ids apart in the width of digits",
        "run",
        ids("01\tgood.nii\t0", "\uff10\uff11\tgood.nii\t1", head="participant_id\tpath\tx"),
        re.escape(r"the participants '01' and '\uff10\uff11' differ only in"),
        check=lambda scene, answer: _no_store(scene),
    ),
    Attack(
        "an id that the store has in other letters",
        "extract",
        renamed,
        "the store .* has the participant 'twin', and the input 'TWIN', which differs only in case",
        check=lambda scene, answer: _rows_are_five(scene),
    ),
    Attack(
        "sessions apart in case",
        "plan",
        ids("p\tgood.nii\tm12", "p\tgood.nii\tM12", head="participant_id\tpath\tsession_id"),
        "the sessions 'M12' and 'm12' of p differ only in",
    ),
    Attack(
        "one file under two participants",
        "plan",
        ids("a\tgood.nii", "b\tgood.nii"),
        "one file under 2 participants, a/good and b/good: 'good.nii'",
        0,
    ),
    Attack(
        "sub-02 in the folder of sub-01",
        "plan",
        tree("sub-01/anat/sub-02_T1w.nii"),
        "'sub-01/anat/sub-02_T1w.nii' lies in the folder of 'sub-01', and its name says 'sub-02'",
    ),
    Attack(
        "sub-02 in the folder of sub-01",
        "extract",
        tree("sub-01/anat/sub-02_T1w.nii"),
        "lies in the folder of 'sub-01', and its name says 'sub-02'",
        check=lambda scene, answer: _no_store(scene),
    ),
    Attack(
        "ses-02 in the folder of ses-01",
        "plan",
        tree("sub-02/ses-01/anat/sub-02_ses-02_T1w.nii"),
        "lies in the folder of 'ses-01', and its name says 'ses-02'",
    ),
    Attack(
        "a folder that links to another participant's",
        "plan",
        tree(links=[("sub-02", "sub-01")]),
        "'sub-02/anat/sub-01_T1w.nii' lies in the folder of 'sub-02'",
    ),
    Attack(
        "a name without sub-",
        "plan",
        tree("sub-01/anat/T1w.nii"),
        "names begin with no sub-: 1, as 'sub-01/anat/T1w.nii'.*1 volume to embed, 0 cannot",
        0,
    ),
]
TREES = [
    Attack(
        "links back to the root, twenty of them",
        "plan",
        tree(links=[(f"sub-01/anat/l{number}", "../..") for number in range(20)]),
        "links not followed, .*: 20, as 'sub-01/anat/l0'.*1 volume to embed",
        0,
    ),
    Attack(
        "a link to the whole disk",
        "extract",
        tree(links=[("sub-01/disk", "/")]),
        "1 volume embedded, 0 already there, 0 failed.*note: links not followed, .*: 1, as 'sub-01/disk'",
        0,
    ),
    Attack(
        "a net of links, 2 ** 20 ways to the top",
        "plan",
        tree(
            *(f"pool/{number}/x.txt.nii" for number in range(21)),
            links=[("sub-01/a", "../pool/0"), ("sub-01/b", "../pool/0")]
            + [(f"pool/{n}/{side}", f"../{n + 1}") for n in range(20) for side in "ab"],
        ),
        "1 volume to embed, 0 cannot be",
        0,
    ),
    Attack(
        "a link to nothing",
        "extract",
        tree(links=[("sub-02/anat/sub-02_T1w.nii", "gone")]),
        "sub-02/T1w: a git-annex link whose content is not here",
        1,
    ),
]
TABLES = [
    Attack(
        "a fifo in place of the manifest",
        "plan",
        fifo_table,
        "volumes.tsv': it is no ordinary file",
        alone=True,
    ),
    Attack(
        "a device in place of the manifest",
        "plan",
        lambda scene: pipeline(scene, "manifest: /dev/zero"),
        "cannot read the table '/dev/zero': it is no ordinary file",
        alone=True,
    ),
    Attack(
        "a folder in place of the manifest",
        "plan",
        lambda scene: pipeline(scene, "manifest: ."),
        "it is no ordinary file",
    ),
    Attack("a path with a NUL", "plan", ids("p\tgood\0.nii"), "has a NUL on line 2"),
    Attack(
        "a path of 5,000 letters",
        "plan",
        ids(f"p\t{'x' * 5000}.nii"),
        "xxx' cannot be read: File name too",
        1,
    ),
    Attack("an empty path", "plan", ids("p\tgood.nii", "q\t"), "1 of 2 rows of volumes.tsv have no path", 0),
    Attack("a fifo as foreground mask", "plan", odd_mask(os.mkfifo), "'mask.nii' is a fifo, not a file", 1),
    Attack("no foreground mask", "plan", odd_mask(lambda path: None), "there is no foreground mask", 1),
    Attack(
        "a foreground mask on another grid",
        "extract",
        odd_mask(lambda path: save(path, brain(0, (9, 8, 7)))),
        r"the foreground mask 'mask.nii' has the shape \(9, 8, 7\), the volume",
        1,
    ),
    Attack(
        "the mask of a committed volume gone",
        "extract",
        mask_gone,
        "masked/masked: there is no foreground",
        1,
    ),
]
OLDER = [
    Attack(
        "records from before inputs were recorded",
        "extract",
        older_records(),
        "8 volumes were embedded before inputs were recorded; --check-hashes decides",
        1,
    ),
    Attack(
        "records from before, all bytes asked for",
        "extract",
        older_records("--check-hashes"),
        "8 volumes were embedded before inputs were recorded: their images were checked",
        1,
    ),
]


def _rows_are_five(scene: Scene) -> None:
    """A row is for life, so none was given."""
    assert len(open_store(scene.folder / "run" / "cache.zarr").table()) == 5


def _no_store(scene: Scene) -> None:
    """It was refused before anything was made."""
    assert not (scene.folder / "cache.zarr").exists()


ATTACKS = [*BY_HEADER, *BY_VOXELS, *CHANGED, *REMADE, *WHO, *TREES, *TABLES, *OLDER]
