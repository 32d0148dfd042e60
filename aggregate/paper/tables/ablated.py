"""An ablation: configurations under their labels, and the comparisons that were named beforehand."""

from collections.abc import Mapping
from typing import Any

from aggregate.paper.finished import Finished
from aggregate.paper.sentences.training import labelled
from aggregate.paper.tables.table import Table, measure_tables, value_cell
from aggregate.report.text.words import interval, named, number, p_value
from aggregate.statistics.cautions import as_guessing
from aggregate.targets.told import primary_of
from cache_schema.common.text.counts import counted


def ablation_tables(run: Finished) -> list[Table]:
    """Every configuration under its label, the primary comparisons, and the reference's measures."""
    metrics = run.metrics
    primary, own = primary_of(metrics), metrics["ablation"]
    rows = []
    for name, row in own["configurations"].items():
        beats = {True: "yes", False: "no", None: "–"}[row.get("beats_mean_pooling")]
        difference = row.get("difference") or {}
        called = labelled(run, name) + (
            f" (same run as {labelled(run, row['same_as'])})" if row.get("same_as") else ""
        )
        rows.append(
            (
                called,
                value_cell(row.get(primary.name)),
                _difference(difference),
                _p(difference),
                row["comparison"],
                beats,
            )
        )
    for name, row in metrics["baselines"].items():
        turned = _turned((metrics.get("comparison") or {}).get(name) or {})
        rows.append(
            (named(name), value_cell(row.get(primary.name)), _difference(turned), _p(turned), "baseline", "–")
        )
    reference = labelled(run, own["reference"])
    caption = (
        f"{metrics['target']}, {metrics['n_participants']} participants, "
        f"{counted(metrics['n_folds'], 'fold')} x {counted(metrics['n_repeats'], 'repeat')}. Differences "
        f"are to {reference}; p is not adjusted and exploratory but for primary "
        "comparisons, which have a table of their own."
    )
    head = ("configuration", primary.words, "difference", "p", "comparison", "beats mean pooling")
    found = [Table("configurations", caption, head, tuple(rows))]
    if own["primary"]:
        found.append(primary_table(run))
    return [*found, *measure_tables("reference", f"All measures of {reference}.", _reference_rows(run))]


def _reference_rows(run: Finished) -> dict[str, Any]:
    baselines = {named(name): row for name, row in run.metrics["baselines"].items()}
    return {labelled(run, run.metrics["ablation"]["reference"]): run.metrics["metrics"], **baselines}


def primary_table(run: Finished) -> Table:
    """Comparisons that were named beforehand."""
    words = primary_of(run.metrics).words
    rows = []
    for one in run.metrics["ablation"]["primary"]:
        a, b = (labelled(run, name) + as_guessing(name, one) for name in one["configurations"])
        rows.append((f"{a} against {b}", _difference(one), _p(one), _p(one, "p_holm")))
    caption = f"Comparisons named before the results were known: difference of {words} (95 % interval)."
    return Table("primary", caption, ("comparison", "difference", "p", "p (Holm)"), tuple(rows))


def _turned(found: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison of the reference with a baseline, the other way round."""
    sides = {"difference": "difference", "ci_low": "ci_high", "ci_high": "ci_low"}
    turned = {name: None if found.get(other) is None else -found[other] for name, other in sides.items()}
    return {**turned, "p": found.get("p")}


def _difference(found: Mapping[str, Any]) -> str:
    if found.get("difference") is None:
        return "–"
    between = interval(found, signed=True)
    return number(found["difference"], signed=True) + (f" ({between})" if between else "")


def _p(found: Mapping[str, Any], name: str = "p") -> str:
    if found.get(name) is None:
        return "–"
    return p_value(found[name]).removeprefix("p = ").removeprefix("p ")
