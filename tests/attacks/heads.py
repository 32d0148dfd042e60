"""Heads that cannot be meant, asked for in a pipeline or found in a stranger's bundle."""

from collections.abc import Callable

from attacks.foreign_bundles import bundle, card
from attacks.pipelines import HEAD
from attacks.scene import Attack, Scene


def asked(head: str) -> Callable[[Scene], list[str]]:
    """The archive's pipeline with another head."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived("pipeline.yaml")
        text = path.read_text()
        assert HEAD in text
        path.write_text(text.replace(HEAD, f"head: {head}", 1))
        return [str(path)]

    return arrange


def found(**head: object) -> Callable[[Scene], list[str]]:
    """A bundle whose card names another head than its weights are of."""
    return bundle(card(lambda given: given.update(head=head)))


ATTACKS = [
    *(
        Attack(fault, "train", asked(head), says)
        for fault, head, says in (
            ("a soft maximum of no sharpness", "{kind: lse, r: 0}", r"head\.r: .*above 0"),
            ("a soft maximum of endless sharpness", "{kind: lse, r: .inf}", r"head\.r: "),
            ("no slice at the top", "{kind: topk, k: 0}", r"head\.k: .*, not 0"),
            ("more than all slices at the top", "{kind: topk, share: 1.2}", r"head\.share: .*at most 1"),
            ("neighbours alone", "{kind: smap, alpha: 1}", r"head\.alpha: .*below 1"),
            ("a grid that goes up", "{kind: concat_logistic, from_vertex_mm: [90, 20]}", "go down the head"),
            ("a grid to nowhere", "{kind: concat_logistic, from_vertex_mm: [0, .inf]}", "from_vertex_mm"),
            ("layers behind a linear head", "{kind: concat_logistic, embedding: [8]}", r"head\.embedding"),
            ("a bottleneck of nothing", "{kind: mst, bottleneck: 0}", r"head\.bottleneck: .*above 0"),
            ("first weights of nobody", "{kind: mst, draw: theirs}", r"head\.draw: .*as_released"),
            ("layers behind slices side by side", "{kind: concat, embedding: [8]}", r"head\.embedding"),
            ("five heads of twelve numbers", "{kind: transmil_1d, width: 12, heads: 5}", "do not divide"),
            (
                "a critical slice that counts for nothing",
                "{kind: dsmil, instance_weight: 0}",
                "weight: .*above 0",
            ),
            (
                "an instance loss below nothing",
                "{kind: clam_sb, instance_weight: -1}",
                "weight: .*at least 0",
            ),
        )
    ),
    *(
        Attack(fault, "predict", arrange, says)
        for fault, arrange, says in (
            ("a grid of 1e9 heights", found(kind="concat_logistic", points=10**9), r"head.*points"),
            ("a billion slices side by side", found(kind="concat", slices=10**9), r"head.*slices"),
            ("a billion steps of smoothing", found(kind="smap", steps=10**9), r"head.*steps"),
            (
                "a transformer of 8e12 numbers",
                found(kind="transmil_1d", width=8 * 10**12),
                "not fit its head",
            ),
            ("another pool than its weights are of", found(kind="bigru", state=4), "not fit its head"),
        )
    ),
]
