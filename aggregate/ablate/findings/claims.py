"""The sentences of an ablation: which comparison was named before, what is exploratory, what beats what."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aggregate.ablate.findings.compare import SIGNIFICANCE, Comparison, Found, Row, better
from aggregate.ablate.findings.results import AblationResults
from aggregate.baselines.names import WORDS
from aggregate.cohort.task import Metric
from aggregate.config.ablate import NESTED, AblateSpec
from aggregate.statistics.cautions import as_guessing, cannot_compare
from aggregate.statistics.evaluate import AUROC
from aggregate.targets.told import BARS, bar_of, primary_of
from cache_schema.common.text.counts import counted

ROW_NAMES = {**WORDS, NESTED: "chosen by inner folds (nested selection)"}


def row_name(name: str) -> str:
    """A row as people call it."""
    first, _, rest = name.partition(" ")
    return f"{ROW_NAMES[first]} {rest}".strip() if first in ROW_NAMES else name


def told_name(row: Row) -> str:
    """A row as people call it, with the run that it shares."""
    return row_name(row.name) + (f" (same run as {row_name(row.same_as)})" if row.same_as else "")


def called(name: str, spec: AblateSpec) -> str:
    """A row as figures and tables of a paper call it: its `label`, where the file says one."""
    return spec.label_of(name) or row_name(name)


def drawn_name(row: Row, spec: AblateSpec) -> str:
    """The same, with the run that it shares."""
    return called(row.name, spec) + (f" (same run as {called(row.same_as, spec)})" if row.same_as else "")


def digits(value: float | None, signed: bool = False) -> str:
    """Three digits, or a dash for what is not defined."""
    if value is None or value != value:
        return "–"
    return (f"{value:+.3f}" if signed else f"{value:.3f}").replace("-", "−")


def span(low: float | None, high: float | None, signed: bool = False) -> str:
    """`0.701 to 0.923`, or nothing."""
    if low is None or high is None or low != low or high != high:
        return ""
    return f"{digits(low, signed)} to {digits(high, signed)}"


def bare_p(p: float | None) -> str:
    """`0.031`, `< 0.001`, or a dash."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_words(p: float | None) -> str:
    """`p = 0.031` or `p < 0.001`."""
    text = bare_p(p)
    return "p not defined" if p is None else f"p {text}" if text.startswith("<") else f"p = {text}"


def difference_words(found: Found | None, primary: Metric) -> str:
    """`AUROC +0.031 (−0.010 to +0.072)`."""
    if found is None or found["difference"] is None:
        return "the difference is not defined"
    interval = span(found["ci_low"], found["ci_high"], signed=True)
    return f"{primary.words} {digits(found['difference'], signed=True)}" + (
        f" ({interval})" if interval else ""
    )


def primary_sentence(comparison: Comparison, primary: Metric = AUROC) -> str:
    """One comparison that was named before, judged by Holm's p."""
    a, b, found = row_name(comparison.a), row_name(comparison.b), comparison.found
    if comparison.one_run:
        return f"{a} and {b} are one run under two names: there is nothing to compare."
    if found is None or comparison.p_holm is None:
        return f"{cannot_compare(a, b, found)}."
    a, b = a + as_guessing(comparison.a, found), b + as_guessing(comparison.b, found)
    size = f"{difference_words(found, primary)}, {p_words(found['p'])}, Holm {p_words(comparison.p_holm)}"
    if comparison.p_holm >= SIGNIFICANCE:
        return f"{a} is not shown to differ from {b} ({size}); that does not prove them equal."
    word = "better" if primary.gain(found["difference"] or 0) > 0 else "worse"
    return f"{a} is {word} than {b} ({size})."


def primary_sentences(results: AblationResults) -> list[str]:
    """All primary comparisons, or that there are none."""
    if not results.primary:
        return [
            "No comparison was named primary before the results were known, so every difference here is "
            "exploratory: a hint for another cohort, not a result."
        ]
    primary = primary_of(results.metrics)
    return [f"Primary: {primary_sentence(comparison, primary)}" for comparison in results.primary]


def exploratory_sentence(rows: Sequence[Row], reference: str) -> str:
    """How much the other comparisons are worth."""
    others = [r for r in rows if r.kind == "exploratory" and r.difference is not None and not r.same_as]
    if not others:
        return ""
    low = sum(
        row.difference is not None and row.difference["p"] is not None and row.difference["p"] < SIGNIFICANCE
        for row in others
    )
    return (
        f"Exploratory: {counted(len(others), 'comparison')} with {row_name(reference)} "
        f"{'was' if len(others) == 1 else 'were'} not named beforehand; their p is not adjusted. {low} "
        f"{'is' if low == 1 else 'are'} below {SIGNIFICANCE}, where about {SIGNIFICANCE * len(others):.1f} "
        "would be if no configuration differed from it."
    )


def mean_pool_sentences(rows: Sequence[Row], baselines: Sequence[Row]) -> list[str]:
    """Which configurations are not shown to beat mean pooling + logistic regression."""
    judged = [r for r in rows if r.versus_mean_pool is not None and r.name != NESTED and not r.same_as]
    bar = next((row for row in baselines if row.name in BARS), None)
    if not judged or bar is None:
        return []
    against = f"{ROW_NAMES[bar.name]} ({bar.primary.words} {digits(bar.judged.value)})"
    losers = [row for row in judged if not row.beats_mean_pool]
    winners = [row for row in judged if row.beats_mean_pool]
    if not losers:
        return [f"Each of {counted(len(judged), 'configuration')} is better than {against}, p not adjusted."]
    first = (
        f"{'None' if not winners else f'{len(winners)}'} of {counted(len(judged), 'configuration')} "
        f"{'is' if len(winners) < 2 else 'are'} shown to beat {against}, p not adjusted"
    )
    worse = [
        row for row in losers if row.versus_mean_pool and better(_turned(row.versus_mean_pool), row.primary)
    ]
    second = f"; {len(worse)} {'is' if len(worse) == 1 else 'are'} worse than it" if worse else ""
    return [f"{first}{second}."]


def _turned(found: Mapping[str, Any]) -> dict[str, Any]:
    """The same comparison the other way round."""
    difference = found["difference"]
    return {**found, "difference": None if difference is None else -difference}


def selection_sentence(results: AblationResults) -> str:
    """The best of the table: an estimate if inner folds chose it, a warning if nobody did."""
    by_name, primary = {row.name: row for row in results.rows}, primary_of(results.metrics)
    bar = ROW_NAMES[bar_of(results.metrics)]
    if NESTED in by_name:
        found = by_name[NESTED].judged
        most = max(results.chosen, key=lambda name: results.chosen[name])
        return (
            f"Choosing a configuration by inner folds reaches {primary.words} {digits(found.value)} "
            f"({span(found.low, found.high)}), choice included; {len(results.chosen)} different ones were "
            f"taken, most often {most} ({results.chosen[most]} of {sum(results.chosen.values())}). It is "
            f"{'' if by_name[NESTED].beats_mean_pool else 'not '}shown to beat {bar}."
        )
    rows = [row for row in results.rows if not np.isnan(row.judged.value) and not row.same_as]
    if len(rows) < 3:
        return ""
    best = max(rows, key=lambda row: primary.gain(row.judged.value))
    most, too = ("lowest", "low") if primary.lower_is_better else ("highest", "high")
    return (
        f"The {most} {primary.words} in the table ({row_name(best.name)}, "
        f"{digits(best.judged.value)}) was picked from {len(rows)} after the fact and is "
        f"too {too} for that: quote it only with select: nested."
    )


def null_sentences(nulls: Mapping[str, Mapping[str, Any]], rows: Sequence[Row]) -> list[str]:
    """What the same trainings reach on shuffled labels; no more than their own interval shows."""
    found, shown = [], {row.name: row for row in rows}
    for name, null in nulls.items():
        row = shown[name]
        if row.same_as in nulls:
            continue
        level = row.primary.guessing
        guessing = level is not None and row.judged.low <= level
        spread = (
            f"{row.primary.words} {digits(null['mean'])} ± {digits(null['sd'])} over {null['n']} shuffles"
        )
        few = 1 / (1 + null["n"]) >= SIGNIFICANCE
        better_than = null["p"] < SIGNIFICANCE and not guessing
        verdict = (
            f"so few shuffles cannot give a p below {SIGNIFICANCE}"
            if few
            else f"{'better than' if better_than else 'not shown to be better than'} chance, "
            f"{p_words(null['p'])}" + (", and its own interval reaches down to 0.5" if guessing else "")
        )
        found.append(f"With labels shuffled, {row_name(name)} reaches {spread}: {verdict}.")
    return found


def verdicts(results: AblationResults) -> list[str]:
    """Every sentence, the primary ones first."""
    found = primary_sentences(results)
    found += mean_pool_sentences(results.rows, results.baselines)
    found += [exploratory_sentence(results.rows, results.study.reference), selection_sentence(results)]
    found += null_sentences(results.nulls, results.rows)
    return [sentence for sentence in found if sentence]
