"""An explanation as a person reads it on a terminal."""

from collections.abc import Mapping
from typing import Any

from aggregate.explain.controls import CONTROLS
from aggregate.explain.verdict import INTERPRETABLE, NOT
from aggregate.targets.told import people_told
from cache_schema.common.terminal.visible import label


def explanation_summary(metrics: Mapping[str, Any]) -> str:
    """The headline, then a row per method with its area beside its controls', and why it is judged so."""
    lines = [headline(metrics), ""]
    lines.append(
        f"{label(metrics['target'])}: {metrics['n_participants']} participants out of fold "
        f"({people_told(metrics)}); evidence of {', '.join(label(name) for name in metrics['evidence_of'])}"
    )
    heads = ["deletion area", *CONTROLS, "p (Holm)", "stability"]
    width = max(len(found["words"]) for found in metrics["methods"].values())
    lines += ["", f"{'':{width}}  " + "  ".join(f"{head:>{max(9, len(head))}}" for head in heads)]
    for found in metrics["methods"].values():
        cells = [_cell(found["deletion"].get(name)) for name in ("own", *CONTROLS)]
        cells += [f"{found['p_holm']:.3f}", " ".join(stability_words(found))]
        row = "  ".join(f"{cell:>{max(9, len(head))}}" for cell, head in zip(cells, heads, strict=True))
        lines.append(f"{found['words']:{width}}  {row}")
    lines += [
        "",
        *(
            f"{found['words']}: {found['verdict']}; {found['reason']}"
            for found in metrics["methods"].values()
        ),
    ]
    lines.append("areas under the deletion curve, a map's own and its controls': the lower, the better")
    left = [f"{name} was left out: {reason}" for name, reason in metrics["left_out_methods"].items()]
    return "\n".join([*lines, *left])


def headline(metrics: Mapping[str, Any]) -> str:
    """One sentence on the method that was named first."""
    found = metrics["methods"][metrics["method"]]
    others = [one["words"] for name, one in metrics["methods"].items() if one["verdict"] != NOT]
    if metrics["interpretable"]:
        return f"{_capital(found['words'])} {found['verdict']}: {found['reason']}."
    more = f" ({' and '.join(others)}: {INTERPRETABLE})" if others else ""
    return f"Not interpretable: {found['words']}, {found['reason']}{more}."


def stability_words(found: Mapping[str, Any]) -> list[str]:
    """`0.81 (folds)`."""
    return [f"{one['spearman']:.2f} ({name})" for name, one in found["stability"].items()] or ["-"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
