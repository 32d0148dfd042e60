"""Bundles from strangers that lie about their training cohort, and cohorts that are not outside of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.scene import Answer, Attack, Scene
from attacks.scene_hostile import edit_card, reweigh

PEOPLE, HANDS, DIM = 20, 4, 128


def soundly(bundle: Path) -> None:
    """Give the archive's bundle, which is from before, a training cohort of 20 that nobody knows."""
    import torch

    card = {
        "participants": [f"t{number:02d}" for number in range(PEOPLE)],
        "hands": [number % HANDS for number in range(PEOPLE)],
        "acquired": {
            "kinds": {"contrast": ["T1w"], "foreground": ["head"]},
            "amounts": {"slices": {"low": 3, "high": 5}},
        },
    }
    edit_card(bundle, lambda found: found.update(familiar=card))
    parts: dict[str, Any] = {}
    for hand in range(HANDS):
        parts |= {
            f"familiar/{hand}/mean": torch.zeros(2 * DIM),
            f"familiar/{hand}/scale": torch.ones(2 * DIM),
            f"familiar/{hand}/basis": torch.eye(2 * DIM)[:3].contiguous(),
            f"familiar/{hand}/spectrum": torch.ones(3),
            f"familiar/{hand}/rest": torch.ones(1),
            f"familiar/{hand}/distances": torch.arange(1, 6, dtype=torch.float64),
        }
    reweigh(bundle, lambda tensors: tensors.update(parts))


def predicting(spoil: Callable[[Path], object]):
    """A bundle with a training cohort, spoilt, on a sound store."""

    def arrange(scene: Scene) -> list[str]:
        bundle = scene.archived("train") / "bundle"
        soundly(bundle)
        spoil(bundle)
        return [str(scene.archived("train")), str(scene.archived("sealed.zarr"))]

    return arrange


def card(**values: Any):
    return lambda bundle: edit_card(bundle, lambda found: found["familiar"].update(values))


def tensor(name: str, value: Callable[[Any], Any]):
    def change(tensors: dict[str, Any]) -> None:
        tensors[f"familiar/{name}"] = value(tensors[f"familiar/{name}"]).contiguous()

    return lambda bundle: reweigh(bundle, change)


def nobody(bundle: Path) -> None:
    """Out-of-fold scores of a member that is not there."""
    import torch

    scores = {"familiar/scores/nobody": torch.zeros(3, dtype=torch.float64)}
    reweigh(bundle, lambda tensors: tensors.update(scores))


def pooled(bundle: Path) -> None:
    edit_card(bundle, lambda found: found.update(mean_pooling=3))


def range_of(low: Any, high: Any):
    found = {"kinds": {}, "amounts": {"slices": {"low": low, "high": high}}}
    return card(acquired=found)


UNSOUND = "does not say soundly what its training cohort looks like"


def evaluating(change: Callable[[Scene], list[str]]):
    """The archive's bundle on a cohort."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        more = change(scene)
        given = [str(scene.archived("train")), "--run", str(scene.folder / "run")]
        return [*given, "--store", str(scene.archived("sealed.zarr")), *more]

    return arrange


def table(scene: Scene) -> Path:
    return scene.folder / "images" / "participants.tsv"


def own(scene: Scene) -> list[str]:
    """The cohort that it was trained on."""
    return ["--cohort", str(table(scene))]


def target(said: Any):
    def change(scene: Scene) -> list[str]:
        bundle = scene.archived("train") / "bundle"
        edit_card(bundle, lambda found: found["training"].update(target=said))
        return own(scene)

    return change


def setting(said: str):
    return lambda scene: [*own(scene), "--set", said]


def nothing_written(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "run" / "evaluate" / "metrics.json").exists()


ATTACKS = [
    Attack("a training cohort that is sound", "predict", predicting(lambda _: None), "typical_p", 0),
    *(
        Attack(fault, "predict", predicting(spoil), says)
        for fault, spoil, says in (
            ("a negative variance", tensor("0/spectrum", lambda t: -t), UNSOUND),
            ("a scale of 0", tensor("1/scale", lambda t: t * 0), UNSOUND),
            ("a basis of another width", tensor("2/basis", lambda t: t[:, :9]), UNSOUND),
            ("distances that go down", tensor("3/distances", lambda t: t.flip(0)), UNSOUND),
            ("distances of too few", tensor("3/distances", lambda t: t[:3]), UNSOUND),
            ("a mean that is infinite", tensor("0/mean", lambda t: t / 0), "familiar/0/mean holds NaN"),
            ("more hands than there are", card(hands=[10**15] * PEOPLE), "familiar.hands"),
            ("fewer hands than people", card(hands=[0, 1]), "are not one for each"),
            ("a participant twice", card(participants=["t00"] * PEOPLE), "stands twice"),
            ("a range that goes down", range_of(5, 3), "from low to high"),
            ("a range of NaN", range_of(float("nan"), 3), "holds NaN"),
            ("a mean pooling that is not there", pooled, "does not hold mean_pool_logistic/0 soundly"),
            ("scores of no member", nobody, "none of a member"),
        )
    ),
    *(
        Attack(fault, "evaluate", evaluating(change), says, check=nothing_written)
        for fault, change, says in (
            (
                "the cohort that it was trained on",
                own,
                "cohort were in training",
            ),
            ("a target that is a number", target(7), "training.target of the bundle"),
            ("a target of another column", target({"column": "../diagnosis"}), "has no column"),
            ("no target at all", target(None), "does not say which column"),
            ("a set of what is none", setting("own_ids=perhaps"), "external.own_ids"),
            ("a store by --set", setting("store=nowhere.zarr"), "nowhere.zarr"),
        )
    ),
]
