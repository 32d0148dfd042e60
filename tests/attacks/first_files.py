"""What `init` is shown: tables, folders and stores that would write the file, or the terminal, themselves."""

import os
from collections.abc import Callable

import yaml

from attacks.scene import Answer, Attack, Scene

HEADER = "participant_id,diagnosis"
ROWS = ["sub-01,a", "sub-02,b"]


def _bids(scene: Scene) -> str:
    """A BIDS folder with a file that is called as an image."""
    for name in ("sub-01", "sub-02"):
        (scene.folder / "data" / name / "anat").mkdir(parents=True)
        (scene.folder / "data" / name / "anat" / f"{name}_T1w.nii.gz").touch()
    return str(scene.folder / "data")


def _init(scene: Scene, *more: str) -> list[str]:
    return [str(scene.folder / "first.yaml"), "--yes", "--images", _bids(scene), *more]


def _labels(text: str, *more: str, encoding: str = "utf-8") -> Callable[[Scene], list[str]]:
    def arrange(scene: Scene) -> list[str]:
        (scene.folder / "labels.csv").write_text(text, encoding=encoding)
        return _init(scene, "--labels", str(scene.folder / "labels.csv"), *more)

    return arrange


def _keys_are_ours(scene: Scene, answer: Answer) -> None:
    """The file has the sections that it should have, and the run stays where it was said."""
    assert "\x1b" not in answer.text
    data = yaml.safe_load((scene.folder / "first.yaml").read_text())
    assert list(data) == ["run", "cache", "extract", "aggregate"]
    assert data["run"]["folder"] == os.path.relpath("runs/data", scene.folder)


def _nothing_written(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "first.yaml").exists()


def _fifo(scene: Scene) -> list[str]:
    os.mkfifo(scene.folder / "labels.csv")
    return _init(scene, "--labels", str(scene.folder / "labels.csv"))


def _damaged_store(scene: Scene) -> list[str]:
    header = scene.archived("sealed.zarr") / "header.json"
    header.write_bytes(header.read_bytes()[:100])
    return [str(scene.folder / "first.yaml"), "--yes", "--images", str(header.parent)]


def _files_in_place_of_participants(scene: Scene) -> list[str]:
    (scene.folder / "data").mkdir()
    (scene.folder / "data" / "sub-01").touch()
    return [str(scene.folder / "first.yaml"), "--yes", "--images", str(scene.folder / "data")]


def _over_a_folder(scene: Scene) -> list[str]:
    words = _labels("\n".join([HEADER, *ROWS]))(scene)
    (scene.folder / "first.yaml").mkdir()
    return [*words, "--force"]


def _into_nowhere(scene: Scene) -> list[str]:
    _, *words = _labels("\n".join([HEADER, *ROWS]))(scene)
    return [str(scene.folder / "nowhere" / "first.yaml"), *words]


SECTION = '"a\nrun: {folder: /etc}\n#"'

ATTACKS = [
    Attack(
        "a value that is a section of its own",
        "init",
        _labels(f"{HEADER}\nsub-01,{SECTION}\nsub-02,b\n"),
        "wrote",
        code=0,
        check=_keys_are_ours,
    ),
    Attack(
        "a column that is a section of its own",
        "init",
        _labels(f"participant_id,{SECTION}\n" + "\n".join(ROWS)),
        "wrote",
        code=0,
        check=_keys_are_ours,
    ),
    Attack(
        "a column of YAML's own characters",
        "init",
        _labels('participant_id,"}, x: [&a *a !!python/name:os.system {{ # "\n' + "\n".join(ROWS)),
        "wrote",
        code=0,
        check=_keys_are_ours,
    ),
    Attack(
        "values that steer a terminal",
        "init",
        _labels(f"{HEADER}\nsub-01,\x1b[2J\x1b]0;owned\x07\nsub-02,b\n"),
        "wrote",
        code=0,
        check=_keys_are_ours,
    ),
    Attack("labels that are a fifo", "init", _fifo, "no ordinary file", check=_nothing_written),
    Attack(
        "labels in UTF-16",
        "init",
        _labels("\n".join([HEADER, *ROWS]), encoding="utf-16"),
        "UTF-16, not UTF-8",
        check=_nothing_written,
    ),
    Attack(
        "labels of one value",
        "init",
        _labels(f"{HEADER}\nsub-01,a\nsub-02,a\n"),
        "no answer to '3. Target",
        check=_nothing_written,
    ),
    Attack("a store with half a header", "init", _damaged_store, "header", check=_nothing_written),
    Attack(
        "files in place of participants",
        "init",
        _files_in_place_of_participants,
        "no sub-\\* folder",
        check=_nothing_written,
    ),
    Attack("a folder in place of the file", "init", _over_a_folder, "first.yaml"),
    Attack("a folder that is not there", "init", _into_nowhere, "nowhere", check=_nothing_written),
    Attack(
        "a backbone that leads out",
        "init",
        _labels("\n".join([HEADER, *ROWS]), "--backbone", "../../etc/passwd"),
        "no backbone",
        check=_nothing_written,
    ),
]
