"""An explanation: methods, controls and the rule, and what each method was found to be."""

from typing import Any

from aggregate.explain.controls import CONTROLS
from aggregate.explain.terminal import headline, stability_words
from aggregate.paper.finished import Finished
from aggregate.paper.sentences.words import cite, joined, listed
from aggregate.report.text.words import interval, number, p_value
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted

SOURCES: dict[str, tuple[str, ...]] = {
    "gradients": ("sundararajan2017axiomatic", "kokhlikyan2020captum"),
    "attention": ("ilse2018attention",),
}
"""By kind of method; the others are common knowledge, or ours."""


def explanation(run: Finished) -> str:
    """How slices were judged, and what a map must beat."""
    metrics = run.metrics
    kinds = {str(one.get("kind")): cite(*SOURCES[str(one.get("kind"))]) for one in asked(run)}
    told = [f"{label(found['words'])}{_source(name, kinds)}" for name, found in metrics["methods"].items()]
    first = label(metrics["methods"][metrics["method"]]["words"])
    members = counted(int(metrics["n_members"]), "member")
    return joined(
        [
            "Participants, images, backbone, head and training are those of the run's `train/`, whose own "
            "methods describe them.",
            f"What the head decides by was asked of {counted(int(metrics['n_participants']), 'participant')} "
            f"out of fold: {members} of the bundle, each on participants whom it had not seen.",
            f"Evidence of every slice was taken by {listed(told)}; the one named first is {first}.",
            f"Beside every map stand {listed(CONTROLS.values())} {cite('adebayo2018sanity')}.",
            "Maps are judged by deletion: slices go in the map's order, and what still tells the labels "
            f"apart is read again; insertion is shown beside it {cite('petsiuk2018rise')}.",
            f"The rule: {metrics['rule']} {cite('nadeau2003inference', 'holm1979simple')}. A map that is not "
            "shown to beat every control is called not interpretable.",
        ]
    )


def asked(run: Finished) -> list[dict[str, Any]]:
    """Specs of methods with a source, as `config.yaml` has them."""
    found = run.config.get("methods")
    specs = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [one for one in specs if one.get("kind") in SOURCES]


def _source(name: str, kinds: dict[str, str]) -> str:
    """A method is called by its kind, with its options behind."""
    return next((f" {source}" for kind, source in kinds.items() if name.startswith(kind)), "")


def explained(run: Finished) -> list[str]:
    """What came of it: the headline, then every method."""
    parts = [headline(run.metrics), "Areas are in logits, differences with 90 % intervals."]
    for found in run.metrics["methods"].values():
        beside = [
            f"{told} {number(found['deletion'][name])} (lower by {_lower(found['against'][name])})"
            for name, told in CONTROLS.items()
            if name in found["deletion"] and name in found["against"]
        ]
        p = "" if found["p_holm"] is None else f"; Holm {p_value(found['p_holm'])}"
        parts.append(
            f"{found['words'][:1].upper()}{found['words'][1:]}: {found['verdict']}, deletion area "
            f"{number(found['deletion']['own'])} against {listed(beside)}{p}; Spearman between members "
            f"{listed(stability_words(found))}."
        )
    return parts


def _lower(found: dict[str, Any]) -> str:
    between = interval(found, signed=True)
    return number(found["difference"], signed=True) + (f", {between}" if between else "")
