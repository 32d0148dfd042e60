"""The table of an ablation: for a spreadsheet, for Markdown and for LaTeX."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from aggregate.ablate.findings.claims import (
    bare_p,
    called,
    digits,
    drawn_name,
    row_name,
    span,
    told_name,
    verdicts,
)
from aggregate.ablate.findings.compare import Comparison, Found, Row
from aggregate.ablate.findings.results import AblationResults
from aggregate.cohort.task import Metric
from aggregate.config.ablate import AblateSpec
from aggregate.targets.told import bar_of, primary_of
from cache_schema.common.text.counts import counted


def table_head(primary: Metric, bar: str, reference: str = "") -> list[str]:
    """Names of the columns of `cells`.

    Args:
        primary: What is compared.
        bar: The baseline that every head has to beat.
        reference: What differences are to.
    """
    to = f"difference to {reference}" if reference else "difference"
    first = ["configuration", "runs", primary.words, "95 % interval", to, "95 % interval", "p", "p (Holm)"]
    return [*first, "comparison", f"beats {row_name(bar)}"]


SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
}


def csv_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The content of `ablation.csv`: numbers in full, empty where not defined."""
    paths = list(dict.fromkeys(path for row in rows for path in row.varied))
    return pd.DataFrame([_csv_row(row, paths) for row in rows])


def _csv_row(row: Row, paths: Sequence[str]) -> dict[str, Any]:
    judged, primary = row.judged, row.primary.name
    found: dict[str, Any] = {"configuration": row.name}
    found |= {path: row.varied.get(path, "") for path in paths} | {"same_as": row.same_as}
    found |= {"runs": row.n_runs, primary: judged.value, "ci_low": judged.low, "ci_high": judged.high}
    found[f"{primary}_sd_over_folds"] = row.spread
    for metric, interval in row.intervals.items():
        if metric != primary:
            found |= {metric: interval.value, f"{metric}_ci_low": interval.low}
            found[f"{metric}_ci_high"] = interval.high
    found |= _csv_difference(row.difference, "")
    found |= {"p_holm": row.p_holm, "comparison": row.kind}
    found |= _csv_difference(row.versus_mean_pool, "_mean_pooling")
    compared = row.versus_mean_pool is not None
    return {**found, "beats_mean_pooling": ("yes" if row.beats_mean_pool else "no") if compared else ""}


def _csv_difference(found: Found | None, ending: str) -> dict[str, float | None]:
    values = found or {}
    names = {"difference": "difference", "ci_low": "difference_ci_low", "ci_high": "difference_ci_high"}
    return {
        f"{names.get(key, key)}{ending}": values.get(key) for key in ("difference", "ci_low", "ci_high", "p")
    }


def cells(row: Row) -> list[str]:
    """One row as text, in the order of `table_head`."""
    judged, found = row.judged, row.difference
    values = found or {}
    return [
        told_name(row),
        str(row.n_runs) if row.n_runs else "–",
        digits(judged.value),
        span(judged.low, judged.high),
        digits(values.get("difference"), signed=True),
        span(values.get("ci_low"), values.get("ci_high"), signed=True),
        bare_p(values.get("p")),
        bare_p(row.p_holm),
        row.kind,
        ("yes" if row.beats_mean_pool else "NO") if row.versus_mean_pool is not None else "–",
    ]


def primary_cells(comparison: Comparison) -> list[str]:
    """A primary comparison as text."""
    found = comparison.found or {}
    return [
        f"{row_name(comparison.a)} against {row_name(comparison.b)}",
        digits(found.get("difference"), signed=True),
        span(found.get("ci_low"), found.get("ci_high"), signed=True),
        bare_p(found.get("p")),
        bare_p(comparison.p_holm),
    ]


def primary_head(primary: Metric) -> tuple[str, ...]:
    """Names of the columns of `primary_cells`."""
    return ("primary comparison", f"difference of {primary.words}", "95 % interval", "p", "p (Holm)")


def markdown(results: AblationResults) -> str:
    """The content of `ablation.md`: sentences first, then the tables."""
    primary = primary_of(results.metrics)
    lines = [f"# Ablation: {results.metrics['target']}", ""]
    lines += [*(f"- {sentence}" for sentence in verdicts(results)), ""]
    if results.primary:
        lines += [*_markdown_table(primary_head(primary), [primary_cells(c) for c in results.primary]), ""]
    head = table_head(primary, bar_of(results.metrics), row_name(results.study.reference))
    lines += _markdown_table(head, [cells(row) for row in (*results.rows, *results.baselines)])
    return "\n".join([*lines, "", f"Intervals: {results.metrics['ci_method']}.", ""])


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(items: Sequence[str]) -> str:
        return "| " + " | ".join(item.replace("|", "\\|") for item in items) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]


def latex(results: AblationResults) -> str:
    """The content of `ablation.tex`: a `table` that needs the package booktabs alone."""
    head = [
        "configuration",
        escape(primary_of(results.metrics).words),
        "95\\,\\% interval",
        "difference",
        "95\\,\\% interval",
        "$p$",
        "$p$ (Holm)",
    ]
    lines = [
        "% Needs \\usepackage{booktabs}.",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escape(caption(results))}}}",
        "\\begin{tabular}{lrrrrrr}",
        "\\toprule",
        " & ".join(head) + " \\\\",
        "\\midrule",
        *(_latex_row(row, results.study.spec) for row in results.rows),
        "\\midrule",
        *(_latex_row(row, results.study.spec) for row in results.baselines),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(row: Row, spec: AblateSpec) -> str:
    shown: Callable[[str], str] = escape
    found = [drawn_name(row, spec), *cells(row)[1:]]
    mark = "" if row.beats_mean_pool or row.versus_mean_pool is None else "$^{\\dagger}$"
    return " & ".join([shown(found[0]) + mark, *(shown(cell) for cell in found[2:8])]) + " \\\\"


def caption(results: AblationResults) -> str:
    """What the LaTeX table is, in a sentence or two; a dagger marks what does not beat mean pooling."""
    metrics = results.metrics
    return (
        f"{metrics['target']}, {metrics['n_participants']} participants, "
        f"{counted(metrics['n_folds'], 'fold')} x {counted(metrics['n_repeats'], 'repeat')}, "
        f"{counted(metrics['n_seeds'], 'seed')}. Difference: to "
        f"{called(results.study.reference, results.study.spec)}. Intervals and p: corrected resampled t "
        "(after Nadeau and Bengio 2003, with the correlation of folds that share pairs); only "
        "comparisons with p (Holm) were named beforehand, the others are exploratory. A dagger marks "
        f"what is not shown to beat {row_name(bar_of(metrics))}."
    )


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
