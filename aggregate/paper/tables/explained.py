"""An explanation: every method beside its controls."""

from aggregate.explain.controls import CONTROLS
from aggregate.explain.terminal import stability_words
from aggregate.paper.finished import Finished
from aggregate.paper.tables.table import Table
from aggregate.report.text.words import interval, number, p_value


def explanation_tables(run: Finished) -> list[Table]:
    """Areas under deletion and insertion of every method, its controls' and what was tested."""
    metrics = run.metrics
    found = metrics["methods"].values()
    areas = [
        tuple(
            [f"{one['words']}, {way}", number(one[way]["own"])]
            + [number(one[way].get(name)) for name in CONTROLS]
        )
        for one in found
        for way in ("deletion", "insertion")
    ]
    tested = [
        tuple(
            [one["words"]]
            + [_difference(one["against"].get(name)) for name in CONTROLS]
            + [_p(one["p_holm"]), " ".join(stability_words(one)), one["verdict"]]
        )
        for one in found
    ]
    n = metrics["n_participants"]
    return [
        Table(
            "areas",
            f"Evidence of {', '.join(metrics['evidence_of'])}, {n} participants out of fold: area under what "
            "tells the labels apart (logits) as slices go (deletion: lower is better) or come (insertion: "
            "higher is better).",
            ("map", "the method's", *CONTROLS.values()),
            tuple(areas),
        ),
        Table(
            "controls",
            "How much lower the deletion area is than under each control (90 % interval), p after Holm over "
            "the methods, and Spearman between members.",
            ("method", *(f"than {told}" for told in CONTROLS.values()), "p (Holm)", "Spearman", "verdict"),
            tuple(tested),
        ),
    ]


def _difference(found: dict[str, float | None] | None) -> str:
    if found is None or found["difference"] is None:
        return "–"
    between = interval(found, signed=True)
    return number(found["difference"], signed=True) + (f" ({between})" if between else "")


def _p(value: float | None) -> str:
    return "–" if value is None else p_value(value).removeprefix("p = ").removeprefix("p ")
