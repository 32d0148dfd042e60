"""Images in place of a store: bundles that lie about what is to be embedded, and images that are none."""

import os
from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Attack, Scene
from attacks.scene_hostile import Edit, edit_card

Spoil = Callable[[Scene], object]
LEFT = ("--set", "workers=0")


def lying(change: Edit, *words: str) -> Callable[[Scene], list[str]]:
    """The archive's images, for a bundle whose card was edited."""

    def arrange(scene: Scene) -> list[str]:
        edit_card(scene.archived("train") / "bundle", change)
        return [*asked(scene), *words]

    return arrange


def asked(scene: Scene) -> list[str]:
    """What is typed."""
    store = str(scene.folder / "new" / "cache.zarr")
    (scene.folder / "new").mkdir(exist_ok=True)
    return [str(scene.archived("train")), store, "--images", str(scene.archived("images")), *LEFT]


def spoilt(spoil: Spoil, *words: str) -> Callable[[Scene], list[str]]:
    """The archive's images, after something was done to them."""

    def arrange(scene: Scene) -> list[str]:
        given = [*asked(scene), *words]
        spoil(scene)
        return given

    return arrange


def only(make: Spoil) -> Callable[[Scene], list[str]]:
    """One thing as the only image."""

    def arrange(scene: Scene) -> list[str]:
        make(scene)
        given = asked(scene)
        given[given.index("--images") + 1] = str(odd(scene))
        return given

    return arrange


def odd(scene: Scene) -> Path:
    """Where it lies."""
    return scene.folder / "odd.nii"


def making(**said: object) -> Edit:
    return lambda card: card.__setitem__("making", said)


def nothing_made(scene: Scene, answer: Answer) -> None:
    """Refused before there was a store."""
    assert not (scene.folder / "new" / "cache.zarr").exists()


def nine(scene: Scene, answer: Answer) -> None:
    """All but the one that is no image have their row."""
    assert sum(line.startswith("sub-") for line in answer.out.splitlines()) == 9


def linked(scene: Scene) -> None:
    """A link to itself among the participants."""
    image = next(scene.archived("images").rglob("sub-03*.nii.gz"))
    image.unlink()
    os.symlink(image.name, image)


ATTACKS = [
    Attack(
        "a bundle whose backbone is code",
        "predict",
        lying(making(backbone={"kind": "custom", "target": "os:getcwd"})),
        "would run code from outside",
        check=nothing_made,
    ),
    Attack(
        "a bundle whose backbone lies elsewhere",
        "predict",
        lying(making(backbone={"kind": "dinov2", "path": "../outside"}, folder="/nowhere")),
        r"there is no folder '/nowhere/\.\./outside'; or give the checkpoint with --backbone",
        check=nothing_made,
    ),
    Attack(
        "a bundle whose backbone is on the hub",
        "predict",
        lying(making(backbone={"kind": "huggingface", "repository": "some/body"})),
        r"is not on this machine: .*slicecache backbone fetch huggingface/some/body",
        check=nothing_made,
    ),
    Attack(
        "a bundle with another seed",
        "predict",
        lying(making(backbone={"kind": "untrained", "size": "tiny", "seed": 7})),
        r"weights_sha256 is '[0-9a-f]{64}' here and '[0-9a-f]{64}' there",
        check=nothing_made,
    ),
    Attack(
        "a bundle whose backbone is of no kind",
        "predict",
        lying(making(backbone={"kind": "mystery"})),
        "what the bundle says of its making.backbone",
        check=nothing_made,
    ),
    Attack(
        "a bundle whose making is a list",
        "predict",
        lying(lambda card: card.__setitem__("making", [1])),
        "is wrong at making",
        check=nothing_made,
    ),
    Attack(
        "a bundle with a step that nobody knows",
        "predict",
        lying(lambda card: card["fingerprint"]["preprocessing"][0].__setitem__("step", "sharpen")),
        "whose preprocessing this version of slicecache does not know",
        check=nothing_made,
    ),
    Attack(
        "a bundle that brings masks and a root of its own",
        "predict",
        lying(making(input={"bids": "/", "masks": {"derivatives": "/"}, "suffix": ["T1w"]})),
        "9 volumes embedded, 0 already there, 1 failed",
        1,
        check=nine,
    ),
    Attack(
        "a step set otherwise",
        "predict",
        spoilt(lambda scene: None, "--set", "canvas=42"),
        r"preprocessing\[canvas\]\.pixels is 42 here and 28 there",
        check=nothing_made,
    ),
    Attack(
        "masks by a pattern that leads out",
        "predict",
        spoilt(lambda scene: None, "--set", "input.masks={derivatives: new, pattern: '../../{name}.nii'}"),
        "there is no folder|leads out of",
        check=nothing_made,
    ),
    Attack("a link to itself among the images", "predict", spoilt(linked), r"sub-03.*(loop|link|no file)", 1),
    Attack("a fifo as the image", "predict", only(lambda scene: os.mkfifo(odd(scene))), "is a fifo", 1),
    Attack("no byte as the image", "predict", only(lambda scene: odd(scene).touch()), "odd: ", 1),
    Attack(
        "no such image", "predict", only(lambda scene: None), "there are no images at", check=nothing_made
    ),
]
