"""`export` to other programs: strangers' stores, runs and tables, taken names, and a disk without room."""

import resource
from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Attack, Scene
from attacks.scene_disks import cut
from attacks.scene_machine import limited

Arrange = Callable[[Scene], list[str]]


def store(out: str, *words: str, before: Callable[[Scene], object] | None = None) -> Arrange:
    """The archive's store, and where it is to go."""

    def arrange(scene: Scene) -> list[str]:
        found = scene.archived("unsealed.zarr")
        if before is not None:
            before(scene)
        return [str(found), str(scene.folder / out), *(word.format(scene=scene.folder) for word in words)]

    return arrange


def run(out: str, *words: str, before: Callable[[Scene], object]) -> Arrange:
    """The archive's training, of whose store we say where it lies."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("train")
        moved = f"cache.store={scene.archived('sealed.zarr')}"
        table = f"aggregate.cohort={scene.archived('images') / 'participants.tsv'}"
        before(scene)
        return [str(scene.folder), str(scene.folder / out), *words, "--set", moved, "--set", table]

    return arrange


def table(text: str) -> Callable[[Scene], object]:
    return lambda scene: (scene.folder / "people.tsv").write_text(text)


def taken(scene: Scene) -> None:
    (scene.folder / "out.h5ad").symlink_to(scene.outside / "secret.txt")


def linked_maps(scene: Scene) -> None:
    """Somebody's file under the name of a map's sidecar."""
    maps = scene.folder / "detect" / "maps"
    maps.mkdir(parents=True)
    (maps / "desc-x_anomalymap.json").symlink_to(scene.outside / "secret.txt")


def linked_curves(scene: Scene) -> None:
    (scene.folder / "explain").mkdir()
    (scene.folder / "explain" / "attention.csv").symlink_to(scene.outside / "secret.txt")


def ablation(scene: Scene, content: str = "configuration,runs,auroc\na,1,0.5\n") -> Path:
    folder = scene.folder / "ablate"
    (folder / "figures").mkdir(parents=True)
    (folder / "metrics.json").write_text('{"target": "../../dx"}')
    (folder / "ablation.csv").write_text(content)
    return folder


def logged(spoil: Callable[[Scene, Path], object]) -> Arrange:
    def arrange(scene: Scene) -> list[str]:
        spoil(scene, ablation(scene))
        return [str(scene.folder), str(scene.folder / "out"), "--format", "mlflow"]

    return arrange


def nothing_left(scene: Scene, answer: Answer) -> None:
    assert not [path for path in scene.folder.iterdir() if path.name.lstrip(".").startswith("out")]


def columns_are_plain(scene: Scene, answer: Answer) -> None:
    import h5py

    with h5py.File(scene.folder / "out.h5ad") as file:
        assert {"_.._x", "cls_of_table", "_index_of_table"} <= set(file["obs"])
        assert set(file) == {"X", "layers", "obs", "obsm", "obsp", "uns", "var", "varm", "varp"}


WIDE = "\t".join(["participant_id", *(f"c{number}" for number in range(1001))])

ATTACKS = [
    Attack("a link stands under the new name", "export", store("out.h5ad", before=taken), "is there already"),
    Attack(
        "a chunk lost its end, to AnnData",
        "export",
        store("out.h5ad", before=lambda scene: cut("cls/c.*", 0.5)(scene.folder / "unsealed.zarr")),
        "array 'cls'.*cache verify",
        check=nothing_left,
    ),
    Attack(
        "a chunk lost its end, to BIDS",
        "export",
        store(
            "out",
            *("--format", "bids"),
            before=lambda scene: cut("cls/c.*", 0.5)(scene.folder / "unsealed.zarr"),
        ),
        "array 'cls'.*cache verify",
        check=nothing_left,
    ),
    Attack(
        "a table of nobody here",
        "export",
        store("out.h5ad", "--cohort", "{scene}/people.tsv", before=table("participant_id\tage\nx\t1\n")),
        "no volume of the store matches",
        check=nothing_left,
    ),
    Attack(
        "a table of a thousand columns and one",
        "export",
        store(
            *("out.h5ad", "--cohort", "{scene}/people.tsv"),
            before=table(f"{WIDE}\n{chr(9).join(['sub-00', *['1'] * 1001])}\n"),
        ),
        "has 1001 columns, at most 1000",
        check=nothing_left,
    ),
    Attack(
        "columns named as paths and as our own",
        "export",
        store(
            *("out.h5ad", "--cohort", "{scene}/people.tsv"),
            before=table("participant_id\t/../x\tcls\t_index\nsub-00\t1\t2\t3\n"),
        ),
        "volumes have no row in people.tsv",
        code=0,
        check=columns_are_plain,
    ),
    Attack(
        "files may not grow beyond 70 kB",
        "export",
        store(
            *("out.h5ad", "--cohort", "{scene}/people.tsv"),
            before=table(f"participant_id\tlong\nsub-00\t{'x' * 90_000}\n"),
        ),
        "cannot write .*out.h5ad': the file grew beyond",
        code=3,
        under=lambda scene: limited(resource.RLIMIT_FSIZE, 70_000),
        check=nothing_left,
    ),
    Attack(
        "a map's sidecar is a link",
        "export",
        run("out", "--format", "bids", before=linked_maps),
        "is a link",
        check=nothing_left,
    ),
    Attack(
        "the curves are a link",
        "export",
        run("out", "--format", "bids", before=linked_curves),
        "is a link",
        check=nothing_left,
    ),
    Attack(
        "an ablation's table is somebody's file",
        "export",
        logged(lambda scene, folder: relink(folder / "ablation.csv", scene.outside / "secret.txt")),
        "is a link",
        check=nothing_left,
    ),
    Attack(
        "an ablation's figures lie behind a link",
        "export",
        logged(lambda scene, folder: relink(folder / "figures", scene.outside)),
        "is a link",
        check=nothing_left,
    ),
]


def relink(path: Path, target: Path) -> None:
    """Put a link in the place of a file or an empty folder."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    path.symlink_to(target)
