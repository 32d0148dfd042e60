"""What an attack is, the sound things that it spoils, and what it may not reach.

A module of this folder that has `ATTACKS` is run by `test_attacks.py` and counted for the table of
`docs/trust.md` by `benchmarks/attacks.py`. One attack is one fault x one verb, with its own sentence.
"""

import contextlib
import hashlib
import importlib
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import slicecache
from cache_schema.common.terminal.command import OURS

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / "tests" / "data" / "v1"
SECRET = "canary-7f3a-of-somebody-else"
"""Stands in the files outside; wherever else it turns up, something was read that should not have been."""

LARGEST_LOOKED_AT = 1 << 28
"""Bytes; a sparse file that says that it has a tebibyte holds no secret."""

Outcome = Literal["refused", "named", "harmless"]
"""refused: exit 2 or 3 and one sentence. named: exit 1, a row or problem that says what is wrong. harmless:
exit 0 with the right answer, which `says` must hold."""


@dataclass(frozen=True)
class Attack:
    """One fault x one verb."""

    fault: str
    """What was done, in a few words; with the verb it is unique."""
    verb: str
    """As typed: `cache verify`."""
    arrange: "Callable[[Scene], Sequence[str]]"
    """Spoil something in the scene, and say the arguments that come after the verb."""
    says: str
    """A regular expression that the answer must match: the part that matters, not every word."""
    code: int = 2
    alone: bool = False
    """Run in a process of its own (for limits, other users, timeouts)."""
    under: "Callable[[Scene], contextlib.AbstractContextManager[object]] | None" = None
    """What holds while the verb runs: a full disk, a limit; undone before anything is looked at."""
    check: "Callable[[Scene, Answer], None] | None" = None
    """What must hold besides."""

    def __str__(self) -> str:
        return f"{self.verb}: {self.fault}"

    @property
    def outcome(self) -> Outcome:
        return {0: "harmless", 1: "named"}.get(self.code, "refused")  # type: ignore[return-value]


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Scene:
    """A folder to spoil, and one beside it that nobody may touch or read."""

    folder: Path
    outside: Path
    ending: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """What is undone once the verb has run: servers, the environment."""
    _secrets: dict[str, str] = field(default_factory=dict)

    @classmethod
    def below(cls, folder: Path) -> "Scene":
        scene = cls(folder / "scene", folder / "outside")
        scene.folder.mkdir(parents=True)
        (scene.outside / "tmp").mkdir(parents=True)
        (scene.outside / "secret.txt").write_text(SECRET)
        (scene.outside / "tmp" / "write~somewhere~1~0123456789ab.2").write_text(SECRET)
        os.utime(scene.outside / "tmp" / "write~somewhere~1~0123456789ab.2", (0, 0))
        scene._secrets = scene.fingerprints()
        return scene

    def archived(self, name: str) -> Path:
        """A fresh copy of something in the archive: `sealed.zarr`, `packed.zarr`, `unsealed.zarr`,
        `store.zip`, `store.h5`, `images`, `train`, `detect`, `pipeline.yaml` (which names the others)."""
        target = self.folder / name
        if not target.exists():
            copy = shutil.copytree if (ARCHIVE / name).is_dir() else shutil.copy
            copy(ARCHIVE / name, target)
        return target

    def extracted(self) -> Path:
        """A store that this version extracted from the archive's images, with images and pipeline.yaml
        beside it; nine volumes committed, one failed."""
        self.archived("images")
        self.archived("pipeline.yaml")
        target = self.folder / "unsealed.zarr"
        if not target.exists():
            shutil.copytree(_extracted_once(), target)
        return target

    def put_outside(self, name: str, source: Path) -> Path:
        """A copy of something among what may not be touched."""
        target = self.outside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        self._secrets = self.fingerprints()
        return target

    def fingerprints(self) -> dict[str, str]:
        """What lies outside, by name."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.outside.rglob("*"))
            if path.is_file()
        }

    def leaks(self, answer: Answer) -> list[str]:
        """What of the outside was changed, or found its way in."""
        found = [] if self.fingerprints() == self._secrets else ["files outside were changed"]
        if SECRET in answer.text:
            found.append("the secret was printed")
        for path in self.folder.rglob("*"):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_LOOKED_AT:
                continue
            if SECRET.encode() in path.read_bytes():
                found.append(f"the secret stands in {path.name}")
        return found


@lru_cache(maxsize=1)
def _extracted_once() -> Path:
    """Extract the archive's images once per process."""
    import atexit
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="attacks"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    scene = Scene.below(folder)
    scene.archived("images")
    pipeline = scene.archived("pipeline.yaml")
    answer = run("extract", [str(pipeline)])
    assert answer.code == 1, answer.text  # one of the images is constant
    return scene.folder / "unsealed.zarr"


def run(verb: str, arguments: Sequence[str], alone: bool = False) -> Answer:
    """Run the command as its user would."""
    given = [*verb.split(), *map(str, arguments)]
    if alone:
        command = [sys.executable, "-W", "error::SyntaxWarning", str(ROOT / "slicecache.py"), *given]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = slicecache.guarded(slicecache.cli.main, given)
    return Answer(code, out.getvalue(), err.getvalue())


def faults_of(attack: Attack, scene: Scene) -> list[str]:
    """Try one attack; what was wrong with the answer, nothing when it was as it should be."""
    with scene.ending:
        arguments = attack.arrange(scene)
        with attack.under(scene) if attack.under else contextlib.nullcontext():
            answer = run(attack.verb, arguments, attack.alone)
    found = []
    if "Traceback (most recent call last)" in answer.text:
        found.append("a traceback")
    if OURS in answer.text:
        found.append("a mistake of ours behind a polite line")
    if answer.code != attack.code:
        found.append(f"exit {answer.code}, not {attack.code}")
    if not re.search(attack.says, answer.text, re.DOTALL):
        found.append(f"does not say {attack.says!r}")
    if attack.outcome == "refused" and len(_sentences(answer.err)) != 1:
        found.append(f"{len(_sentences(answer.err))} lines of refusal, not one")
    found += scene.leaks(answer)
    if found:
        return [f"{', '.join(found)}; it said: {answer.text[-2000:]!r}"]
    if attack.check is not None:
        attack.check(scene, answer)
    return []


def _sentences(text: str) -> list[str]:
    """The lines that refuse; hints (`try: ...`) and warnings do not count."""
    return [line for line in text.splitlines() if line.startswith("slicecache: ")]


def all_attacks() -> dict[str, list[Attack]]:
    """Every attack, by the module that holds it."""
    found = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith(("test_", "scene")):
            found[module.name] = list(importlib.import_module(f"attacks.{module.name}").ATTACKS)
    return found
