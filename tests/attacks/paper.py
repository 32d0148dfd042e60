"""`report` on a run folder that somebody sent, or that lost a part: refused, or made as text."""

import json
from collections.abc import Callable
from typing import Any

from attacks.scene import Answer, Attack, Scene

Edit = Callable[[dict[str, Any]], Any]


def run(*edits: tuple[str, Edit]) -> Callable[[Scene], list[str]]:
    """The archive's training, of which some files are changed."""

    def arrange(scene: Scene) -> list[str]:
        folder = scene.archived("train")
        for name, edit in edits:
            path = folder / name
            value = json.loads(path.read_text()) if path.is_file() else {}
            edit(value)
            path.write_text(json.dumps(value))
        return [str(scene.folder)]

    return arrange


def kept(page: dict[str, Any], **more: Any) -> tuple[str, Edit]:
    """A `report.json` of a stranger."""
    return "report.json", lambda value: value.update(page=page, **more)


def figure(name: str, kind: str = "forest") -> dict[str, Any]:
    return {"forest": {"$figure": {"name": name, "kind": kind, "facts": {"metric": "auroc", "null": None}}}}


def linked(scene: Scene) -> list[str]:
    """Figures that would be written elsewhere."""
    folder = scene.archived("train")
    (folder / "figures").symlink_to(scene.outside, target_is_directory=True)
    return [str(scene.folder)]


def secret_figure(scene: Scene) -> list[str]:
    """The numbers of a figure are somebody else's file."""
    arguments = run(kept(figure("forest")))(scene)
    (scene.folder / "train" / "figures").mkdir()
    (scene.folder / "train" / "figures" / "forest.csv").symlink_to(scene.outside / "secret.txt")
    return arguments


def drawn(kind: str, table: str, **facts: Any) -> Callable[[Scene], list[str]]:
    """A figure of a stranger's numbers."""
    entry = {"$figure": {"name": "drawn", "kind": kind, "facts": facts}}

    def arrange(scene: Scene) -> list[str]:
        arguments = run(kept({"scored": {"parts": [{"drawing": entry, "caption": "x"}]}}))(scene)
        (scene.folder / "train" / "figures").mkdir()
        (scene.folder / "train" / "figures" / "drawn.csv").write_text(table)
        return arguments

    return arrange


def no_script(scene: Scene, answer: Answer) -> None:
    made = [path.read_text() for path in (scene.folder / "train").glob("*.html")]
    assert made
    assert not any("<script" in text for text in made)


SCRIPT = "<script>alert(1)</script>"

ATTACKS = [
    Attack("no folder", "report", lambda scene: [str(scene.folder / "none")], "there is no folder"),
    Attack("nothing finished", "report", lambda scene: [str(scene.folder)], "holds nothing finished"),
    Attack("figures lie behind a link", "report", linked, "is a link"),
    Attack("a figure's numbers lie behind a link", "report", secret_figure, "is a link"),
    Attack("a figure without numbers", "report", run(kept(figure("forest"))), "forest.csv"),
    Attack(
        "scores that are words",
        "report",
        drawn("scores", "label,score\na,high\nb,low\n", classes=["a", "b"], axis="p", threshold=None),
        "cannot draw the figure 'drawn'",
    ),
    Attack(
        "a calibration of nobody",
        "report",
        drawn("calibration", "configuration,n,probability,observed,low,high\n"),
        "cannot draw the figure 'drawn'",
    ),
    Attack(
        "a map without its facts",
        "report",
        drawn("embedding-map", "participant_id,x,y,label\np,1,2,a\n"),
        "cannot draw the figure 'drawn'",
    ),
    Attack(
        "a flow that counts words",
        "report",
        drawn("cohort-flow", "stage,label,n,leaves\nfound,images found,many,False\n"),
        "cannot draw the figure 'drawn'",
    ),
    Attack(
        "a figure's name leaves the folder",
        "report",
        run(kept(figure("../../outside/secret"))),
        "cannot read",
    ),
    Attack("a report of nothing", "report", run(kept({})), "does not hold a report of train"),
    Attack(
        "a header of another format",
        "report",
        run(kept({}, headers={"main": {"format": "other"}})),
        "holds a header that is none",
    ),
    Attack(
        "numbers without participants",
        "report",
        run(("metrics.json", lambda m: m.pop("n_participants"))),
        "does not hold what train leaves",
    ),
    Attack(
        "a metric that is a list",
        "report",
        run(("metrics.json", lambda m: m.update(metrics=[1]))),
        "does not hold what train leaves",
    ),
    Attack(
        "a target that is a script",
        "report",
        run(("metrics.json", lambda m: m.update(target=SCRIPT, ci_method=SCRIPT))),
        "train: ",
        code=0,
        check=no_script,
    ),
]
