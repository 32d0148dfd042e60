"""Bundles of mixtures and causal networks from strangers: options and states that do not go together."""

from typing import Any

from attacks.foreign_bundles import bundle, fill, member, weights
from attacks.scene import Attack
from attacks.scene_hostile import Edit

DPMM = 4
"""Its place among the members."""


def mixture(**changes: Any):
    return member(lambda found: found["detector"].update(changes), DPMM)


def network(**changes: Any):
    return member(lambda found: found.update(detector={"kind": "spatial_ar", **changes}), DPMM)


def with_tensor(name: str, *shape: int) -> Edit:
    import torch

    return lambda tensors: tensors.update({f"dpmm-s0/state/{name}": torch.zeros(shape, dtype=torch.float64)})


ATTACKS = [
    Attack(f"detectors with {fault}", "predict", bundle(spoil, "detect"), says)
    for fault, spoil, says in (
        ("more directions than numbers", mixture(pca=99_999), "99999 directions are more than the 128"),
        ("1e9 directions", mixture(pca=10**9), "pca"),
        ("directions that were never found", mixture(pca=3), "differs in .*pca.centre"),
        ("places that were never fitted", mixture(place=True), "differs in best.covariance, best.mean"),
        ("a diagonal for a full covariance", mixture(covariance="full"), "differs in best.covariance"),
        ("arithmetic of nobody", mixture(preset="theirs"), "preset"),
        ("a mask below 0", mixture(mask="object", mask_threshold=-1), "mask_threshold"),
        ("curves of another width", weights(with_tensor("history", 2, 7)), "differs in history"),
        (
            "curves with NaN",
            weights(
                lambda t: (with_tensor("history", 2, 4)(t), fill("dpmm-s0/state/history", float("nan"))(t))
            ),
            "history holds NaN",
        ),
        ("steps of a schedule that it has not", weights(with_tensor("fit.step")), "differs in"),
        ("a network of 1e9 layers", network(depth=10**9), "depth"),
        ("a network of 3e9 parameters", network(width=1024, kernel=9, depth=40), "100000000 at most"),
        ("a dilation of 1e9", network(dilation=[1, 1, 1, 1, 10**9]), "dilation"),
        ("dilations for another depth", network(dilation=[1, 1]), "2 numbers for a depth of 5"),
        ("a mixture's state in a network", network(), "differs in"),
    )
]
