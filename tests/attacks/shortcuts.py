"""Harmonising that cannot be meant, and sites as strangers write them: one sentence, or nothing at all."""

import json
from collections.abc import Callable

from attacks.scene import Answer, Attack, Scene

Arrange = Callable[[Scene], list[str]]
NASTY = "<img src=x onerror=alert(1)>\x1b[2J"
REFERENCE = "aggregate.ablate={configurations: {plain: {}, combat: {harmonise: combat}}, repeats: 1}"


def sites(cells: str, *more: str) -> Arrange:
    """A column `site`, blank after blank, and what the pipeline says besides."""

    def arrange(scene: Scene) -> list[str]:
        scene.extracted()
        path = scene.folder / "images" / "participants.tsv"
        head, *rows = path.read_text().splitlines()
        words = cells.split(" ")
        lines = [f"{row}\t{words[i % len(words)].replace('_', ' ')}" for i, row in enumerate(rows)]
        path.write_text("\n".join([f"{head}\tsite", *lines]) + "\n")
        return [str(scene.archived("pipeline.yaml")), *(word for one in more for word in ("--set", one))]

    return arrange


def _refused(fault: str, says: str, cells: str, *more: str) -> Attack:
    return Attack(fault, "train", sites(cells, *more), says)


def _whole(scene: Scene, answer: Answer) -> None:
    metrics = json.loads((scene.folder / "run" / "train" / "metrics.json").read_text())
    assert metrics["site"]["said"]
    assert metrics["copies"]["pairs"] == []
    page = (scene.folder / "run" / "train" / "report.html").read_text()
    assert "<img src=x" not in page
    assert "\x1b" not in answer.text + page


COMBAT = "aggregate.harmonise=combat"
BY_TARGET, BY_NOTHING = (f"aggregate.harmonise={{{said}}}" for said in ("preserve: [diagnosis]", "site: lab"))
TORN = sites(f"{NASTY.replace(' ', '_')} b")
FEW = r"training part of fold 0 holds \d participants of site"
NONE = r"holds 0 participants of site"

ATTACKS = [
    _refused("harmonised by the target", r"'diagnosis' is the target", "a b", BY_TARGET),
    _refused("a kind of harmonising that is none", r"harmonise.*comb", "a b", "aggregate.harmonise=combatt"),
    _refused("harmonised by a column that is not there", r"no column 'lab'", "a b", BY_NOTHING),
    _refused("a site of one class", r"site \w holds \w+ only", "a a a a b b b b a a", COMBAT),
    _refused("a site of hardly anybody", FEW, "a b", COMBAT),
    _refused("harmonised with one site", r"holds one site only", "a", COMBAT),
    _refused("sites that a table leaves out", r"has no 'site'", "a b n/a", COMBAT),
    _refused("harmonised by who is left out", NONE, "a b", COMBAT, "aggregate.leave_group_out=site"),
    Attack("harmonised with one site", "ablate", sites("a", REFERENCE), r"holds one site only"),
    Attack("sites that would break a page", "train", TORN, r"scanners|sites", 0, check=_whole),
    Attack("a site for everybody", "train", sites("a b c d e f g h i j"), r"fewer than two", 0, check=_whole),
]
