"""Run folders from strangers, explained: bundle, configuration and table lie, and nothing of them is run."""

from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Attack, Scene
from attacks.scene_hostile import DEEP, Edit, edit_card, reweigh

Spoil = Callable[[Path], object]


def run(spoil: Spoil | None = None, *words: str):
    """The archive's training, spoilt, with store and table where they lie now."""

    def arrange(scene: Scene) -> list[str]:
        train = scene.archived("train")
        table = scene.archived("images") / "participants.tsv"
        moved = [f"cache.store={scene.archived('sealed.zarr')}", f"aggregate.cohort={table}"]
        if spoil is not None:
            spoil(train)
        return [str(train), *words, *(word for place in moved for word in ("--set", place))]

    return arrange


def config(change: Callable[[str], str]) -> Spoil:
    """Its configuration, changed as text."""

    def spoil(train: Path) -> None:
        path = train / "config.yaml"
        path.write_text(change(path.read_text()))

    return spoil


def card(change: Edit) -> Spoil:
    return lambda train: edit_card(train / "bundle", change)


def nan_weight(train: Path) -> None:
    reweigh(train / "bundle", lambda t: t["r0-f0-s0/classifier.weight"].view(-1).__setitem__(0, float("nan")))


def all_seen(found) -> None:
    for member in found["members"]:
        member["participants"] = [f"{number:02d}" for number in range(10)] + [
            f"sub-{number:02d}" for number in range(10)
        ]


def custom(found) -> None:
    found["head"] = {"kind": "custom", "target": "os:abort", "options": {}}


def nothing_written(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "explain" / "metrics.json").exists()


ATTACKS = [
    Attack(
        "a sound run of few participants",
        "explain",
        run(None, "--method", "attention", "--no-maps"),
        "Not interpretable",
        code=0,
    ),
    *(
        Attack(fault, "explain", run(spoil), says, check=nothing_written)
        for fault, spoil, says in (
            ("a NaN weight", nan_weight, "classifier.weight holds NaN"),
            ("a head that ends the process", card(custom), "allow-custom|custom"),
            ("members that saw everybody", card(all_seen), "every participant of the cohort"),
            (
                "classes of another disease",
                card(lambda c: c.update(classes=["x", "y"], positive="y")),
                "is it the table",
            ),
            (
                "a configuration that runs code",
                config(lambda t: "x: !!python/object/apply:os.abort []\n"),
                "config.yaml",
            ),
            ("a configuration nested 200,000 deep", config(lambda t: DEEP.decode()), "config.yaml"),
            ("a configuration that is a list", config(lambda t: "- 1\n"), "must hold the sections"),
            ("no configuration", lambda train: (train / "config.yaml").unlink(), "beside its config.yaml"),
            (
                "a target that is not there",
                config(lambda t: t.replace("column: diagnosis", "column: nobody")),
                "nobody",
            ),
        )
    ),
    Attack(
        "a method that runs code", "explain", run(None, "--method", "!!python/name:os.abort"), "there is no"
    ),
    Attack(
        "a window as wide as the earth",
        "explain",
        run(None, "--method", "{kind: leave_out, window_mm: 1.0e+30}"),
        "window_mm",
    ),
]
