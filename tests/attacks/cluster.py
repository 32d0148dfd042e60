"""What a site file, a kept plan or a Slurm that answers oddly could do to who types one line."""

import os
from collections.abc import Callable, Sequence

from attacks.scene import Answer, Attack, Scene

Arrange = Callable[[Scene], Sequence[str]]


def _dry(site: bytes) -> Arrange:
    """A dry run with such a site file."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        path = scene.folder / "site.yaml"
        path.write_bytes(site)
        pipeline = scene.archived("pipeline.yaml")
        return [str(pipeline), "--engine", "slurm", "--dry-run", "--site", str(path)]

    return arrange


def _site_that_is(make: Callable[[Scene], str]) -> Arrange:
    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        pipeline = scene.archived("pipeline.yaml")
        return [str(pipeline), "--engine", "slurm", "--dry-run", "--site", make(scene)]

    return arrange


def _slurm(**programs: str) -> Arrange:
    """Hand in to programs that stand in for Slurm's."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        folder = scene.folder / "bin"
        folder.mkdir()
        for name, text in programs.items():
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{folder}:{before}"
        scene.ending.callback(os.environ.__setitem__, "PATH", before)
        (scene.folder / "site.yaml").write_text("{}")
        pipeline = scene.archived("pipeline.yaml")
        return [str(pipeline), "--engine", "slurm", "--site", str(scene.folder / "site.yaml")]

    return arrange


def _submitted(text: str) -> Arrange:
    def arrange(scene: Scene) -> Sequence[str]:
        words = _slurm(sbatch="echo 7", squeue=":", scancel=":")(scene)
        place = scene.folder / "run" / "slurm"
        place.mkdir(parents=True)
        (place / "submitted.json").write_text(text)
        return [*words, "--set", "run.folder=run", "--set", "cache.store=run/new.zarr"]

    return arrange


def _outside(scene: Scene) -> str:
    """A secret of somebody else's, named as a site file."""
    return str(scene.outside / "secret.txt")


def _nothing_submitted(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "run" / "slurm" / "extract.sh").exists()


def _quoted(scene: Scene, answer: Answer) -> None:
    assert "export A='$(cat ../outside/secret.txt)'\n" in answer.out


ATTACKS = [
    Attack(
        "a site file with a Python tag",
        "extract",
        _dry(b"setup: !!python/name:os.system"),
        "tag",
    ),
    Attack("a site key that nobody knows", "extract", _dry(b"partion: gpu"), "did you mean 'partition'"),
    Attack("a site key twice", "extract", _dry(b"account: a\naccount: b"), "twice"),
    Attack("a directive in a partition", "extract", _dry(b'partition: "gpu\\n#SBATCH --uid=0"'), "partition"),
    Attack("a command in a partition", "extract", _dry(b'partition: "$(id)"'), "partition"),
    Attack(
        "words behind a directive", "extract", _dry(b'directives: ["--comment=x --wrap=id"]'), "directives"
    ),
    Attack("a directive with a quote", "extract", _dry(b"directives: ['--comment=\"x']"), "directives"),
    Attack("a command in the stage", "extract", _dry(b'stage: "$(id)"'), "stage"),
    Attack("a quote in the stage", "extract", _dry(b"stage: '/tmp\"; id; \"'"), "stage"),
    Attack(
        "a variable's name that is a command", "extract", _dry(b'environment: {"A;id": "1"}'), "environment"
    ),
    Attack("a line break in a variable", "extract", _dry(b'environment: {A: "1\\nid"}'), "environment"),
    Attack("a site file of a megabyte", "extract", _dry(b"# " + b"x" * 1_000_000), "site file"),
    Attack("a list for a site file", "extract", _dry(b"[partition, gpu]"), "site file"),
    Attack(
        "a command in a variable",
        "extract",
        _dry(b"environment: {A: $(cat ../outside/secret.txt)}"),
        "#SBATCH",
        code=0,
        check=_quoted,
    ),
    Attack("somebody's secret for a site file", "extract", _site_that_is(_outside), "site file"),
    Attack(
        "an sbatch that says a page",
        "extract",
        _slurm(sbatch="for i in {1..5000}; do echo sbatch: error: no >&2; done; exit 1"),
        r"refuses .* \.\.\. ",
    ),
    Attack(
        "an sbatch that writes to the terminal",
        "extract",
        _slurm(sbatch=r"printf 'sbatch: error: \033[2Jgone' >&2; exit 1"),
        r"refuses .*\\x1b\[2Jgone",
    ),
    Attack("an sbatch without an id", "extract", _slurm(sbatch="echo done, thanks"), "job id"),
    Attack(
        "jobs handed in before that are no jobs",
        "extract",
        _submitted('{"arrays": ["1; id"], "finish": "2", "tasks": 3}'),
        r"submitted\.json",
        check=_nothing_submitted,
    ),
    Attack(
        "jobs handed in before that cannot be read",
        "extract",
        _submitted("{" * 100_000),
        r"submitted\.json",
        check=_nothing_submitted,
    ),
]
