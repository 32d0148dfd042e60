"""Made-up bundles of known weights and bags with planted slices, for tests of `explain`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from made_up_store import example_header

from aggregate.bags.bags import Bags
from aggregate.explain.looking import Asked
from aggregate.explain.methods.base import MethodBase
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.registry import HeadSpec
from aggregate.predict.bundle import Bundle, BundleCard, Member
from aggregate.targets.question import Question, class_questions

DIM = 5
STEP_MM = 3.0


def bags_of(lengths: Sequence[int], seed: int = 0) -> Bags:
    """Normal tokens; the first slice is the lowest."""
    generator = np.random.default_rng(seed)
    keep = np.arange(max(lengths)) < np.array(lengths)[:, None]
    x = generator.standard_normal((*keep.shape, DIM)) * keep[:, :, None]
    height = STEP_MM * (np.array(lengths)[:, None] - 1 - np.arange(keep.shape[1])) * keep
    parts = (x.astype(np.float32), keep, height.astype(np.float32))
    return Bags(*(torch.from_numpy(part) for part in parts))


def member(name: str, participants: Sequence[str], repeat: int = 0, fold: int = 0, seed: int = 0) -> Member:
    """One that saw these participants."""
    return Member(
        name=name,
        configuration="made up",
        repeat=repeat,
        fold=fold,
        seed=seed,
        participants=tuple(participants),
        best_epoch=1,
        epochs=1,
    )


def bundle_of(
    members: Sequence[Member], head: HeadSpec | None = None, classes: int = 2, states: Any = None
) -> Bundle:
    """Heads with drawn weights, each member its own."""
    spec = head or AttentionSpec(hidden=4)
    header = example_header(("cls",), dim=DIM)
    built = spec.build(DIM, classes)
    drawn = [{k: 2 * v[0] for k, v in built.init([seed]).items()} for seed in range(len(members))]
    card = BundleCard(
        fingerprint=header.fingerprint,
        numerics=header.numerics,
        tokens="cls",
        dim=DIM,
        classes=tuple("abcdef"[:classes]),
        head=spec,
        members=tuple(members),
    )
    return Bundle(card, tuple(states or drawn))


def knowing_state(scale: float = 2.0) -> dict[str, torch.Tensor]:
    """Weights that read class b off the first number of the slice where it is highest."""
    state = {name: torch.zeros(shape) for name, shape in AttentionSpec(hidden=4).build(DIM, 2).shapes.items()}
    state["input.scale"] = torch.ones(())
    state["attention.project.weight"][0, 0] = 1.0
    state["attention.score.weight"][0] = 3.0
    state["classifier.weight"][1, 0] = scale
    return state


def planted(n: int, seed: int, size: float = 4.0, slices: int = 15) -> tuple[Bags, np.ndarray, np.ndarray]:
    """Bags, labels, and the slice (n,) in which the first number of every second one is raised."""
    bags = bags_of([slices] * n, seed)
    y = np.arange(n) % 2
    where = np.random.default_rng(seed + 1).integers(0, slices, n)
    bags.x.numpy()[np.arange(n)[y == 1], where[y == 1], 0] += size
    return bags, y, where


def names(n: int) -> list[str]:
    """Ids."""
    return [f"p{number:03d}" for number in range(n)]


def folded(n: int, folds: int, states: Any = None) -> Bundle:
    """A bundle of so many folds, participant i tested in fold i mod folds."""
    people = names(n)
    inside = [[name for i, name in enumerate(people) if i % folds != fold] for fold in range(folds)]
    members = [member(f"r0-f{k}-s0", own, fold=k) for k, own in enumerate(inside)]
    return bundle_of(members, states=states)


def asked_of(bundle: Bundle, bags: Bags, y: np.ndarray, methods: Sequence[MethodBase]) -> Asked:
    """Everybody a participant of their own."""
    questions: tuple[Question, ...] = class_questions(bundle.card.classes, y.astype(np.float64))
    return Asked(bundle, bags, names(len(y)), questions, tuple(methods))
