"""Losses that cannot be meant: terms that train nothing or another target, and numbers beyond arithmetic."""

from collections.abc import Callable

from attacks.scene import Attack, Scene

Arrange = Callable[[Scene], list[str]]
DIVERGED = r"the run attention, repeat 0, fold \d, seed 0 diverged: .* is no finite number; lower train\."


def _loss(text: str, head: str = "{kind: attention, hidden: 7, embedding: [5]}") -> Arrange:
    """The archive's pipeline with another loss, and where it matters another head."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived("images")
        scene.archived("unsealed.zarr")
        path = scene.archived("pipeline.yaml")
        old = "head: {kind: attention, hidden: 7, embedding: [5]}"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, f"head: {head}\n  loss: {text}", 1))
        return [str(path)]

    return arrange


def _train(fault: str, text: str, says: str, code: int = 2) -> Attack:
    return Attack(fault, "train", _loss(text), says, code)


ATTACKS = [
    _train("an ordinal loss of classes", "{corn: 1}", r"corn is for a target of kind ordinal"),
    _train("a loss of numbers for classes", "{huber: {delta: 2}}", r"huber is for a target of kind regress"),
    Attack(
        "a loss on attention that nobody learns",
        "train",
        _loss("{normal_guidance: 1}", "{kind: mean, embedding: [5]}"),
        r"normal_guidance acts on the attention, but head 'mean' has none that trains",
    ),
    Attack(
        "a triplet loss on vectors that stay",
        "train",
        _loss("{triplet: 1}", "{kind: mean}"),
        r"triplet acts on the embedding, but head 'mean' .* has nothing trainable below it",
    ),
    _train(
        "weights of three classes for two",
        "{cross_entropy: {class_weights: [1, 2, 3]}}",
        r"class_weights has 3 numbers, but the target has 2 classes",
    ),
    _train("a weight of no class", "{cross_entropy: {class_weights: [0, 1]}}", r"a number above 0 for each"),
    _train(
        "a schedule that never counts",
        "{supcon: {schedule: {kind: linear, begin: 0, end: 0, epochs: 3}}}",
        r"loss\.supcon\.schedule: begin and end are both 0",
    ),
    _train(
        "a schedule without an end",
        "{supcon: {schedule: {kind: linear, begin: 0, end: .inf, epochs: 3}}}",
        r"loss\.supcon\.schedule\.end: a finite number is expected",
    ),
    _train("a weight beyond float32", "{cross_entropy: 1.0e+308}", DIVERGED),
    _train("a prior to a power beyond float32", "{cross_entropy: {logit_adjustment: 1.0e+308}}", DIVERGED),
    _train("a power of nothing", "{cross_entropy: 0, focal: {gamma: 1.0e+308}}", DIVERGED),
    _train(
        "class weights that no ratio holds",
        "{cross_entropy: {class_weights: [1.0e-300, 1.0e+300]}}",
        DIVERGED,
    ),
    _train(
        "an effective number of one",
        "{cross_entropy: {class_weights: {beta: 0.9999999999999999}}}",
        r"report: .*report\.html",
        0,
    ),
    _train(
        "a bell without width",
        "{normal_guidance: {weight: 1, min_sd_mm: 1.0e-300}}",
        r"report: .*report\.html",
        0,
    ),
]
