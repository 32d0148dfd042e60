"""The machine fails: each time one line with exit 3 that names the path, and nothing half-written."""

import errno
import os
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from attacks.scene import Answer, Attack, Scene
from attacks.scene_machine import Disk, broken, crowded, few_files, first_child_killed, limited, locked

CONFIGURATIONS = "{mean_pool: {head.kind: mean}, own: {}}"
ABLATE = f"aggregate.ablate={{configurations: {CONFIGURATIONS}, reference: mean_pool, repeats: 1}}"
STUDIES = ("train", "ablate", "detect")

Arranged = Callable[[Scene], list[str]]
Under = Callable[[Scene], AbstractContextManager[object]]


def study(verb: str) -> Arranged:
    """A pipeline over a finished store."""

    def arrange(scene: Scene) -> list[str]:
        scene.extracted()
        return [str(scene.archived("pipeline.yaml")), *(["--set", ABLATE] if verb == "ablate" else [])]

    return arrange


def fresh(scene: Scene) -> list[str]:
    """A pipeline over images, without a store."""
    scene.archived("images")
    return [str(scene.archived("pipeline.yaml"))]


def to_replace(scene: Scene) -> list[str]:
    """A finished store, one volume of which is to be embedded again."""
    store = scene.extracted()
    next((store / "records").rglob("*.json")).unlink()
    return [str(scene.archived("pipeline.yaml"))]


def finished(scene: Scene) -> list[str]:
    return [str(scene.extracted())]


def warmed(scene: Scene) -> list[str]:
    """All modules are imported: importing one more would need a file, too."""
    from attacks.scene import run

    store = str(scene.archived("sealed.zarr"))
    run("cache verify", [store])
    return [store]


def trained(*more: str) -> Arranged:
    """A bundle and a store."""

    def arrange(scene: Scene) -> list[str]:
        found = [str(scene.archived("train")), str(scene.archived("sealed.zarr"))]
        return [*found, *(word.format(scene=scene.folder) for word in more)]

    return arrange


def of_store(name: str, *more: str) -> Arranged:
    def arrange(scene: Scene) -> list[str]:
        return [str(scene.archived(name)), *(word.format(scene=scene.folder) for word in more)]

    return arrange


def file_in_place(arrange: Arranged, name: str) -> Arranged:
    """A file where a folder is needed."""

    def arranged(scene: Scene) -> list[str]:
        (scene.folder / name).write_text("mine")
        return arrange(scene)

    return arranged


def full(name: str, first: int, number: int = errno.ENOSPC) -> Under:
    """The disk below a name fails from a change on."""
    return lambda scene: Disk(scene.folder / name, first, number).failing()


def shut(name: str, mode: int = 0o500) -> Under:
    def under(scene: Scene) -> AbstractContextManager[None]:
        path = scene.folder / name
        if not path.exists():
            path.mkdir(parents=True)
        return locked(path, mode)

    return under


def without(*names: str) -> Callable[[Scene, Answer], None]:
    """Nothing was left under these names."""

    def check(scene: Scene, answer: Answer) -> None:
        assert [name for name in names if (scene.folder / name).exists()] == []

    return check


def keeps(name: str, content: str) -> Callable[[Scene, Answer], None]:
    def check(scene: Scene, answer: Answer) -> None:
        assert (scene.folder / name).read_text() == content

    return check


def committed_stay(scene: Scene, answer: Answer) -> None:
    """What a full disk leaves is a sound store, and the same command goes on."""
    from attacks.scene import run

    verified = run("cache verify", [str(scene.folder / "unsealed.zarr")])
    assert "all right" in verified.out, verified.text
    done = run("extract", [str(scene.folder / "pipeline.yaml")])
    assert (done.code, "content digest" in done.out) == (1, True), done.text


def one_record(scene: Scene) -> Path:
    return next((scene.folder / "sealed.zarr" / "cls").glob("c.*"))


def attack(
    fault: str, verb: str, arrange: Arranged, says: str, under: Under | None = None, **more: object
) -> Attack:
    return Attack(fault, verb, arrange, says, more.pop("code", 3), under=under, **more)  # type: ignore[arg-type]


ATTACKS = [
    # a file where a folder is needed
    attack(
        "the run folder is a file",
        "extract",
        file_in_place(fresh, "run"),
        "run folder .*/run' .* is a file",
        check=keeps("run", "mine"),
    ),
    attack(
        "the run folder is a file",
        "run",
        file_in_place(study("run"), "run"),
        "run folder .* is a file",
        check=keeps("run", "mine"),
    ),
    *(
        attack(
            "the run folder is a file",
            verb,
            file_in_place(study(verb), "run"),
            f"/run/{verb}' .* is a file",
            check=keeps("run", "mine"),
        )
        for verb in STUDIES
    ),
    attack(
        "--maps is a file",
        "predict",
        file_in_place(
            lambda scene: [
                str(scene.archived("detect")),
                str(scene.archived("sealed.zarr")),
                "--maps",
                f"{scene.folder}/maps",
            ],
            "maps",
        ),
        "the folder of --maps .* is a file",
    ),
    # places of what predict writes, before anything is loaded
    attack(
        "--out into a missing folder",
        "predict",
        trained("--out", "{scene}/mising/p.csv"),
        "--out .*there is no folder .*/mising'; make it first",
        check=without("mising"),
    ),
    attack(
        "--out is a folder", "predict", trained("--out", "{scene}"), "--out .* it is a folder; name a file"
    ),
    attack(
        "--out may not be written",
        "predict",
        trained("--out", "{scene}/shut/p.csv"),
        "cannot write to the folder of --out .*/shut': no permission",
        shut("shut"),
    ),
    attack(
        "the disk is full at --out",
        "predict",
        trained("--out", "{scene}/mine/p.csv"),
        "cannot write .*p.csv': the disk is full",
        lambda scene: ((scene.folder / "mine").mkdir(), Disk(scene.folder / "mine", 1).failing())[1],
        check=without("mine/p.csv"),
    ),
    # no permission
    *(
        attack(
            "the run folder may not be written",
            verb,
            study(verb),
            "write to the run folder .*: no permission",
            shut("run"),
        )
        for verb in ("extract", *STUDIES)
    ),
    attack(
        "the store's folder may not be written",
        "extract",
        lambda scene: [*fresh(scene), "--set", f"run.folder={scene.outside}/run"],
        "folder of the store .*: no permission",
        lambda scene: locked(scene.folder),
    ),
    attack(
        "the store may not be written",
        "cache seal",
        finished,
        "unsealed.zarr.*no permission",
        shut("unsealed.zarr"),
    ),
    attack(
        "the place of the copy may not be written",
        "cache import",
        of_store("store.h5", "{scene}/shut/copy.zarr"),
        "folder of the copy .*: no permission",
        shut("shut"),
    ),
    attack(
        "the place of the export may not be written",
        "cache export",
        of_store("sealed.zarr", "{scene}/shut/copy.h5"),
        "folder of the copy .*: no permission",
        shut("shut"),
    ),
    attack(
        "the store's parent may not be written",
        "cache pack",
        of_store("unsealed.zarr"),
        "folder of the packed store .*: no permission",
        lambda scene: locked(scene.folder),
    ),
    # what is there and may not be read: never taken for absent or damaged
    attack(
        "the cohort table may not be read",
        "train",
        study("train"),
        "participants.tsv': Permission denied",
        shut("images/participants.tsv", 0),
    ),
    attack(
        "the pipeline may not be read",
        "train",
        study("train"),
        "pipeline.yaml': Permission denied",
        shut("pipeline.yaml", 0),
    ),
    attack(
        "the records may not be listed",
        "train",
        study("train"),
        "cannot list .*/records': no permission",
        shut("unsealed.zarr/records", 0),
    ),
    attack(
        "a chunk may not be read",
        "predict",
        trained(),
        "cannot read .*/cls/c.*': no permission",
        lambda scene: locked(one_record(scene), 0),
    ),
    attack(
        "a chunk may not be read",
        "cache verify",
        of_store("sealed.zarr"),
        "cannot read .*/cls/c.*no permission",
        lambda scene: locked(one_record(scene), 0),
    ),
    attack(
        "the bundle may not be read",
        "predict",
        trained(),
        "bundle.json cannot be read",
        shut("train/bundle/bundle.json", 0),
    ),
    attack(
        "an image may not be read",
        "extract",
        fresh,
        "sub-02/T1w: cannot be read: Permission denied",
        shut("images/sub-02/anat/sub-02_T1w.nii.gz", 0),
        code=1,
    ),
    attack(
        "an .h5 may not be read",
        "cache inspect",
        of_store("store.h5"),
        "cannot read .*store.h5': no permission",
        shut("store.h5", 0),
    ),
    # a full disk in the middle
    attack(
        "the disk is full after some volumes",
        "extract",
        fresh,
        r"cannot write .*: the disk is full.*; [1-8] volumes were committed before that and stay",
        full("unsealed.zarr", 60),
        check=committed_stay,
    ),
    attack(
        "the disk is full when the store is made",
        "extract",
        fresh,
        "cannot .*unsealed.zarr.*: the disk is full",
        full(".unsealed", 2),
        check=without("unsealed.zarr"),
    ),
    *(
        attack(
            "the disk is full at the results",
            verb,
            study(verb),
            f"cannot write .*run/{verb}/.*: the disk is full",
            full("run", first),
            check=without(f"run/{verb}/metrics.json", f"run/{verb}/report.html"),
        )
        for verb, first in zip(STUDIES, (7, 7, 6), strict=True)
    ),
    attack(
        "the disk is full",
        "cache seal",
        finished,
        "cannot write .*sealed.*: the disk is full",
        full("unsealed.zarr", 0),
        check=without("unsealed.zarr/sealed/index.json"),
    ),
    attack(
        "the disk is full",
        "cache pack",
        of_store("sealed.zarr", "--out", "{scene}/packed"),
        "cannot write .*: the disk is full",
        full(".packed.rebuilding", 9),
        check=without("packed"),
    ),
    attack(
        "the disk is full",
        "cache import",
        of_store("store.h5", "{scene}/copy.zarr"),
        "cannot write .*copy.zarr': the disk is full",
        full(".copy.zarr", 9),
        check=without("copy.zarr"),
    ),
    attack(
        "files may not grow beyond 70 kB",
        "cache export",
        of_store("sealed.zarr", "{scene}/copy.h5"),
        "cannot write .*copy.h5': the file grew beyond",
        lambda scene: limited(resource.RLIMIT_FSIZE, 70_000),
        check=without("copy.h5"),
    ),
    # a disk that takes nothing, or gives an error
    attack(
        "the file system is read-only",
        "extract",
        fresh,
        "run folder .*: the file system is read-only",
        full("", 0, errno.EROFS),
    ),
    attack(
        "the file system is read-only",
        "train",
        study("train"),
        "run folder .*: the file system is read-only",
        full("", 0, errno.EROFS),
    ),
    attack(
        "the quota is used up",
        "ablate",
        study("ablate"),
        "/journal': the disk quota is used up",
        full("run", 6, errno.EDQUOT),
    ),
    attack(
        "an input/output error while reading",
        "train",
        study("train"),
        "cannot read .*cls/c.*input/output error",
        lambda scene: broken("os.preadv", OSError(errno.EIO, os.strerror(errno.EIO))),
    ),
    attack(
        "a network folder went away",
        "predict",
        trained(),
        "cannot read .*: the network folder went away",
        lambda scene: broken("os.preadv", OSError(errno.ESTALE, os.strerror(errno.ESTALE))),
    ),
    # asked before the long part
    attack(
        "less room than the plan needs",
        "extract",
        fresh,
        r"no room for the store .*may take [\d.]+ [kM]B, and 1 kB are free.*check_space=false",
        lambda scene: crowded(1000, 10**6),
    ),
    attack(
        "fewer inodes than the plan needs",
        "extract",
        to_replace,
        r"may take \d+ files, and 3 more can be made",
        lambda scene: crowded(10**12, 3),
    ),
    attack(
        "less room, and told to try",
        "extract",
        lambda scene: [*fresh(scene), "--set", "extract.check_space=false"],
        "9 volumes embedded",
        lambda scene: crowded(1000, 10),
        code=1,
    ),
    *(
        attack(
            "less room than the store has",
            verb,
            of_store("sealed.zarr", *more),
            "no room for the .*1 kB are free",
            lambda scene: crowded(1000, 10),
            check=without("copy.zarr", "copy.h5"),
        )
        for verb, more in (
            ("cache pack", ()),
            ("cache import", ("{scene}/copy.zarr",)),
            ("cache export", ("{scene}/copy.h5",)),
        )
    ),
    # too little of something else
    attack(
        "too many open files", "cache verify", warmed, "too many files are open", lambda scene: few_files(0)
    ),
    *(
        attack(
            "too many open files at the images",
            verb,
            fresh,
            "cannot read .*T1w.nii.gz': too many files are open",
            lambda scene: broken("nibabel.load", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
        )
        for verb in ("plan", "extract")
    ),
    attack(
        "too little memory",
        "train",
        study("train"),
        "the machine has too little memory",
        lambda scene: broken("aggregate.train.case.open_bags", MemoryError("Unable to allocate 9 TiB")),
    ),
    attack(
        "too little memory",
        "predict",
        trained(),
        "the machine has too little memory",
        lambda scene: broken(
            "aggregate.predict.predict.read_bags",
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 TiB"),
        ),
    ),
    attack(
        "a decoding process is killed",
        "extract",
        lambda scene: [*fresh(scene), "--set", "extract.workers=1"],
        "9 volumes embedded, 0 already there, 1 failed",
        lambda scene: first_child_killed(),
        code=1,
        check=committed_stay,
    ),
    attack(
        "a verb's folder is a file",
        "run",
        lambda scene: file_in_place(fresh, "run/train")((scene.folder / "run").mkdir() or scene),
        "the run folder .*/run/train' cannot be written to: .* is a file",
        check=without("unsealed.zarr"),
    ),
]
