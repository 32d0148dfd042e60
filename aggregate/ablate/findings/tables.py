"""The table of an ablation: for a spreadsheet, for Markdown and for LaTeX."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from aggregate.ablate.findings.claims import bare_p, digits, row_name, span, told_name, verdicts
from aggregate.ablate.findings.compare import Comparison, Found, Row
from aggregate.ablate.findings.results import AblationResults

TABLE_HEAD = (
    "configuration",
    "runs",
    "AUROC",
    "95 % interval",
    "difference",
    "95 % interval",
    "p",
    "p (Holm)",
)
LAST = ("comparison", "beats mean pooling + logistic regression")

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
    auroc = row.intervals["auroc"]
    found: dict[str, Any] = {"configuration": row.name}
    found |= {path: row.varied.get(path, "") for path in paths} | {"same_as": row.same_as}
    found |= {"runs": row.n_runs, "auroc": auroc.value, "ci_low": auroc.low, "ci_high": auroc.high}
    found["auroc_sd_over_folds"] = row.auroc_sd
    for metric, interval in row.intervals.items():
        if metric != "auroc":
            found |= {metric: interval.value, f"{metric}_ci_low": interval.low}
            found[f"{metric}_ci_high"] = interval.high
    found |= _csv_difference(row.difference, "")
    found |= {"p_holm": row.p_holm, "comparison": row.kind}
    found |= _csv_difference(row.versus_mean_pool, "_mean_pooling")
    judged = row.versus_mean_pool is not None
    return {**found, "beats_mean_pooling": ("yes" if row.beats_mean_pool else "no") if judged else ""}


def _csv_difference(found: Found | None, ending: str) -> dict[str, float | None]:
    values = found or {}
    names = {"difference": "difference", "ci_low": "difference_ci_low", "ci_high": "difference_ci_high"}
    return {
        f"{names.get(key, key)}{ending}": values.get(key) for key in ("difference", "ci_low", "ci_high", "p")
    }


def cells(row: Row) -> list[str]:
    """One row as text, in the order of `TABLE_HEAD` and `LAST`."""
    auroc, found = row.intervals["auroc"], row.difference
    values = found or {}
    return [
        told_name(row),
        str(row.n_runs) if row.n_runs else "–",
        digits(auroc.value),
        span(auroc.low, auroc.high),
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


PRIMARY_HEAD = ("primary comparison", "difference of AUROC", "95 % interval", "p", "p (Holm)")


def markdown(results: AblationResults) -> str:
    """The content of `ablation.md`: sentences first, then the tables."""
    lines = [f"# Ablation: {results.metrics['target']}", ""]
    lines += [*(f"- {sentence}" for sentence in verdicts(results)), ""]
    if results.primary:
        lines += [*_markdown_table(PRIMARY_HEAD, [primary_cells(c) for c in results.primary]), ""]
    head = [*TABLE_HEAD, *LAST]
    head[4] = f"difference to {row_name(results.study.reference)}"
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
        "AUROC",
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
        *(_latex_row(row) for row in results.rows),
        "\\midrule",
        *(_latex_row(row) for row in results.baselines),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(row: Row) -> str:
    shown: Callable[[str], str] = escape
    found = cells(row)
    mark = "" if row.beats_mean_pool or row.versus_mean_pool is None else "$^{\\dagger}$"
    return " & ".join([shown(found[0]) + mark, *(shown(cell) for cell in found[2:8])]) + " \\\\"


def caption(results: AblationResults) -> str:
    """What the LaTeX table is, in a sentence or two; a dagger marks what does not beat mean pooling."""
    metrics = results.metrics
    return (
        f"{metrics['target']}, {metrics['n_participants']} participants, {metrics['n_folds']} folds x "
        f"{metrics['n_repeats']} repeats, {metrics['n_seeds']} seed(s). Difference: to "
        f"{row_name(results.study.reference)}. Intervals and p: corrected resampled t (after Nadeau and "
        "Bengio 2003, with the correlation of folds that share pairs); "
        "only comparisons with p (Holm) were named beforehand, the others are exploratory. A dagger marks "
        "what is not shown to beat mean pooling + logistic regression."
    )


def escape(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
