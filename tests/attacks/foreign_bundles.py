"""Bundles from strangers: weights, cards and thresholds that lie; the card vouches for the weights."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

from attacks.scene import Answer, Attack, Scene
from attacks.scene_hostile import DEEP, Edit, behind_link, edit_card, replace_weights, reweigh

Spoil = Callable[[Scene, Path], object]


def bundle(spoil: Spoil, of: str = "train"):
    """A spoilt bundle, applied to a sound store."""

    def arrange(scene: Scene) -> list[str]:
        spoil(scene, scene.archived(of) / "bundle")
        return [str(scene.archived(of)), str(scene.archived("sealed.zarr"))]

    return arrange


def card(change: Edit) -> Spoil:
    return lambda _, path: edit_card(path, change)


def member(change: Edit, number: int = 0) -> Spoil:
    return card(lambda found: change(found["members"][number]))


def weights(change: Edit) -> Spoil:
    return lambda _, path: reweigh(path, change)


def raw(data: bytes) -> Spoil:
    return lambda _, path: replace_weights(path, data)


def link(name: str) -> Spoil:
    return lambda scene, path: behind_link(path / name, scene)


def fill(name: str, value: float) -> Edit:
    """Put a number into a tensor."""
    return lambda tensors: tensors[name].view(-1).__setitem__(0, value)


def retype(dtype: str) -> Edit:
    import torch

    def change(tensors):
        for name, value in tensors.items():
            tensors[name] = value.to(getattr(torch, dtype))

    return change


def tensor_file(header: str) -> bytes:
    """A safetensors file with a header of one's own and no numbers."""
    return struct.pack("<Q", len(header)) + header.encode()


def set_(**values: object) -> Edit:
    return lambda found: found.update(values)


def pipe(scene: Scene, path: Path) -> None:
    (path / "members.safetensors").unlink()
    os.mkfifo(path / "members.safetensors")


def custom(found) -> None:
    """A head that is a function of the operating system."""
    found["head"] = {"kind": "custom", "target": "os:abort", "options": {}}


def wide(found) -> None:
    found["head"]["hidden"] = 10**12


def name_it(name: str) -> Spoil:
    return member(set_(name=name))


def maps(spoil: Spoil):
    """Detectors that write a map of every volume."""

    def arrange(scene: Scene) -> list[str]:
        return [*bundle(spoil, "detect")(scene), "--maps", str(scene.folder / "maps")]

    return arrange


def no_maps(scene: Scene, answer: Answer) -> None:
    assert not (scene.folder / "maps").exists()


ABORT = {"kind": "custom", "target": "os:abort", "options": {}}


def combined(*parts: dict[str, object]) -> Spoil:
    return member(lambda m: m.update(detector={"kind": "combined", "parts": list(parts)}))


HEADS = [
    Attack(fault, "predict", bundle(spoil), says)
    for fault, spoil, says in (
        (
            "a NaN weight",
            weights(fill("r0-f0-s0/classifier.weight", float("nan"))),
            "classifier.weight holds NaN",
        ),
        (
            "an infinite weight",
            weights(fill("r0-f1-s0/input.mean", float("inf"))),
            "input.mean holds NaN or infinity",
        ),
        ("a threshold of 1.5", member(set_(threshold=1.5)), "members.0.threshold"),
        ("a threshold of -0.1", member(set_(threshold=-0.1)), "members.0.threshold"),
        ("a temperature of 0", member(set_(temperature=0)), "members.0.temperature"),
        ("a temperature of 1e-300", member(set_(temperature=1e-300)), "members.0.temperature"),
        ("a temperature of NaN", member(set_(temperature=float("nan"))), "it holds NaN"),
        (
            "an infinite threshold",
            lambda s, p: (p / "bundle.json").write_text(
                (p / "bundle.json").read_text().replace('"threshold": 0.5', '"threshold": 1e400')
            ),
            "members.0.threshold",
        ),
        ("weights in float16", weights(retype("float16")), "must be float32 throughout"),
        ("weights in int8", weights(retype("int8")), "is of torch.int8, which no bundle holds"),
        (
            "weights of another shape",
            weights(
                lambda t: t.update({"r0-f0-s0/classifier.bias": t["r0-f0-s0/classifier.bias"][:1].clone()})
            ),
            "does not fit its head in classifier.bias",
        ),
        (
            "a weight too many",
            weights(lambda t: t.update({"r0-f0-s0/more": t["r0-f0-s0/classifier.bias"].clone()})),
            "does not fit its head in more",
        ),
        ("a head of 1e12 units", card(lambda c: wide(c)), "does not fit its head"),
        ("tokens of 1e9 numbers", card(set_(dim=10**9)), "wrong at dim"),
        ("a header of an exbibyte", raw(struct.pack("<Q", 2**60)), "cannot be read: .*[Hh]eader"),
        (
            "a tensor of 2^62 numbers",
            raw(tensor_file('{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}')),
            "cannot be read",
        ),
        (
            "tensors that overlap",
            raw(
                tensor_file(
                    '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}'
                )
                + b"x" * 6
            ),
            "cannot be read",
        ),
        ("weights that are a pickle", raw(b"\x80\x04cos\nsystem\n"), "cannot be read"),
        (
            "a card of 200,000 nested lists",
            lambda _, p: (p / "bundle.json").write_bytes(DEEP),
            "nested more than 64 deep",
        ),
        ("a card of 300 MB", lambda _, p: os.truncate(p / "bundle.json", 300_000_000), "268435456 at most"),
        (
            "a key twice in the card",
            lambda _, p: (p / "bundle.json").write_text('{"dim": 3, "dim": 4}'),
            "the key 'dim' twice",
        ),
        ("the card is a link", link("bundle.json"), "is a symbolic link"),
        ("the weights are a link", link("members.safetensors"), "is a symbolic link"),
        ("the weights are a pipe", pipe, "is no file"),
        (
            "a member twice",
            card(lambda c: c["members"].append(c["members"][0])),
            "member names are not unique",
        ),
        ("a member named ../x", name_it("../x"), "members.0.name"),
        ("no member", card(set_(members=[])), "wrong at members"),
        ("a class twice", card(set_(classes=["patient", "patient"])), "classes must be different labels"),
        ("a class without a name", card(set_(classes=["", "patient"])), "classes must be different labels"),
        ("a positive class of nobody", card(set_(positive="somebody")), "positive is 'somebody'"),
        ("tokens that are patches", card(set_(tokens="patches")), "has 2 x 2 x 128"),
        ("tokens that are a path", card(set_(tokens="../cls")), "reads the tokens '../cls'"),
        ("a head that ends the process", card(custom), "allow-custom|custom"),
        ("a head of no kind", card(lambda c: c["head"].update(kind="nothing")), "wrong at head|nothing"),
        ("a field of tomorrow", card(set_(more=1)), "the field 'more'"),
    )
]
DETECTORS = [
    Attack(f"detectors with {fault}", "predict", bundle(spoil, "detect"), says)
    for fault, spoil, says in (
        ("NaN in a bank", weights(fill("memory_bank-s0/state/bank", float("nan"))), "state/bank holds NaN"),
        ("NaN for heights", weights(fill("dpmm-s0/height/mean", float("nan"))), "height/mean holds NaN"),
        ("a deviation of 0", weights(fill("patchcore-s0/height/sd", 0.0)), "positive deviations"),
        (
            "heights of another shape",
            weights(lambda t: t.update({"dpmm-s0/height/sd": t["dpmm-s0/height/sd"][:7].clone()})),
            "must be 80 means",
        ),
        ("no thresholds", member(set_(thresholds={})), "thresholds and volume_limits must be of"),
        (
            "a threshold that is infinite",
            member(set_(thresholds={"fpr10": float("inf"), "fpr05": 1, "fpr01": 1})),
            "it holds Infinity",
        ),
        ("one of them twice", card(lambda c: c["members"].append(c["members"][0])), "a member stands twice"),
        (
            "1e12 components",
            member(lambda m: m["detector"].update(components=10**12), 4),
            "asks for 1000000000000 of something",
        ),
        ("a grid of 1e9", card(set_(grid=[10**9, 2])), "wrong at grid.0"),
        ("tokens of 60,000 numbers", card(set_(dim=60_000)), "differs in|cannot be built|of 60000 numbers"),
        ("a bank without numbers", weights(lambda t: t.pop("memory_bank-s0/state/bank")), "differs in bank"),
        ("a card that is a link", link("bundle.json"), "is a symbolic link"),
        ("a part that ends the process", combined(ABORT), "custom"),
        ("a part of 1e12 components", combined({"kind": "dpmm", "components": 10**12}), "of something"),
        ("a combination in itself", combined({"kind": "combined", "parts": []}), "members.0.detector"),
        ("a thousand parts", combined(*[{"kind": "position"}] * 1000), "members.0.detector"),
        ("tokens of another folder", member(lambda m: m["detector"].update(tokens="../cls")), "tokens"),
        (
            "a detector that ends the process",
            member(lambda m: m.update(detector=ABORT)),
            "custom",
        ),
    )
]
MAPS = [
    Attack("a detector named ..", "predict", maps(name_it("..")), "members.0.name", check=no_maps),
    Attack("a detector named /etc/x", "predict", maps(name_it("/etc/x")), "members.0.name", check=no_maps),
]
ATTACKS = [*HEADS, *DETECTORS, *MAPS]
