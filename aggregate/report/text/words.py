"""The report's sentences: what the numbers say, and no more than they say."""

from collections.abc import Mapping
from typing import Any

from aggregate.baselines.names import WORDS
from aggregate.cohort.task import Metric
from aggregate.heads.registry import HEADS
from aggregate.statistics.cautions import as_guessing, cannot_compare
from aggregate.targets import told
from aggregate.targets.classification import Classification
from cache_schema.format.header import Header
from cache_schema.format.plane import AWAY, FROM_POLE, LAID

CONFIGURATION_NAMES = {
    **WORDS,
    **{head.model_fields["kind"].default: head.words for head in HEADS if head.words},
    "dinoatten3d": "DinoAtten3D",
    "dinoatten3d_sum": "DinoAtten3D, variance summed",
    "dinoatten3d_released": "DinoAtten3D as released",
}
"""Baselines, heads and recipes as people call them."""

METRICS = {
    **{metric.name: metric.words for metric in Classification.metrics},
    "auroc_pairwise": "AUROC, pairwise",
    "ppv": "PPV",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "ece": "ECE",
    "ece_if_calibrated": "ECE if calibrated",
    "auroc_pooled": "AUROC, folds pooled",
    **{name: metric.words for name, metric in told.METRICS.items() if metric not in Classification.metrics},
}
"""Metrics in the table's order; others follow under their own name."""

PLAINER = ("confounds_only", "scanner_only", "head_size_only")
"""Baselines that know nothing of the embedding."""
LEVEL = 0.05
"""Below this p a difference is called one."""


def plane_words(header: Header) -> dict[str, str]:
    """How a store's slices lie, in which order they are shown, and what their heights are counted from."""
    plane = header.fingerprint.plane
    return {"away": AWAY[plane], "laid": LAID[plane], "from_pole": FROM_POLE[plane]}


def named(configuration: str) -> str:
    """A configuration or baseline as people call it."""
    return CONFIGURATION_NAMES.get(configuration, configuration.replace("_", " "))


def number(value: Any, signed: bool = False) -> str:
    """Two digits with a proper minus, or a dash for what is not defined."""
    if value is None:
        return "–"
    return (f"{value:+.2f}" if signed else f"{value:.2f}").replace("-", "−")


def interval(found: Mapping[str, Any], signed: bool = False) -> str:
    """`0.70 to 0.92`, or nothing."""
    if found.get("ci_low") is None or found.get("ci_high") is None:
        return ""
    return f"{number(found['ci_low'], signed)} to {number(found['ci_high'], signed)}"


def p_value(p: float | None) -> str:
    """`p = 0.031`, never `p = 0.000`."""
    if p is None:
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def judged(metrics: Mapping[str, Any], configuration: str) -> float | None:
    """A configuration's primary metric, if it is in `metrics.json`."""
    row = metrics["metrics"] if configuration == head_of(metrics) else metrics["baselines"].get(configuration)
    return ((row or {}).get(told.primary_of(metrics).name) or {}).get("value")


def head_of(metrics: Mapping[str, Any]) -> str:
    """What the head's configuration is called."""
    return str(metrics.get("configuration", "head"))


def verdict(metrics: Mapping[str, Any]) -> str:
    """The sentences under the title: is the head better than chance, than mean pooling, than the plainest."""
    head = head_of(metrics)
    name, value = named(head), judged(metrics, head)
    if value is None:
        return f"The {told.primary_of(metrics).words} of {name} is not defined."
    found = (metrics.get("comparison") or {}).get(told.bar_of(metrics))
    if found is None:
        first = f"{capital(name)} reaches {area(metrics)} {number(value)}; nothing was compared with it."
    else:
        first = against(name, value, metrics, found)
    return " ".join(filter(None, (proven(metrics, name), first, chance(metrics), plainer(metrics, value))))


def proven(metrics: Mapping[str, Any], name: str) -> str:
    """That the interval lies above what guessing gives, where it does."""
    primary = told.primary_of(metrics)
    found = metrics["metrics"][primary.name]
    if primary.guessing is None or found.get("ci_low") is None or found["ci_low"] <= primary.guessing:
        return ""
    size = f"{area(metrics)} {number(found['value'])}, {interval(found)}"
    return f"{capital(name)} is better than guessing ({size})."


def plainer(metrics: Mapping[str, Any], value: float) -> str:
    """What needs no embedding and does as well, where something does: it may be all that the head reads."""
    primary = told.primary_of(metrics)
    found = {name: judged(metrics, name) for name in PLAINER}
    equal = {name: own for name, own in found.items() if own is not None and primary.gain(own - value) >= 0}
    if not equal:
        return ""
    rows = " and ".join(f"{named(name)} ({number(own)})" for name, own in equal.items())
    return f"Without any embedding {rows} {'does' if len(equal) == 1 else 'do'} as well."


def against(name: str, value: float, metrics: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The comparison with the linear model on mean pooled tokens in one sentence."""
    bar, gain = told.bar_of(metrics), told.primary_of(metrics).gain
    other = judged(metrics, bar)
    ours, theirs = (as_guessing(side, found) for side in (head_of(metrics), bar))
    both = f"{area(metrics)} {number(value)}{ours} against {number(other)}{theirs}"
    if found.get("p") is None:
        return f"{capital(cannot_compare(name, named(bar), found))} ({both})."
    size = f"{number(found['difference'], signed=True)}, {interval(found, signed=True)}"
    gap = f"difference {size}, {p_value(found['p'])}"
    if found["p"] >= LEVEL:
        return (
            f"{capital(name)} is not shown to differ from {named(bar)}: {both} ({gap}); "
            "that does not prove them equal."
        )
    word = "better" if gain(found["difference"]) > 0 else "worse"
    return f"{capital(name)} is {word} than {named(bar)}: {both} ({gap})."


def area(metrics: Mapping[str, Any]) -> str:
    """What the primary metric is called: over several classes AUROC is the mean of one against the rest."""
    words = told.primary_of(metrics).words
    return f"macro {words}" if metrics.get("task") == "multiclass" else words


def chance(metrics: Mapping[str, Any]) -> str:
    """Whether the head is better than guessing: by its interval first, then by shuffled labels."""
    primary = told.primary_of(metrics)
    found = metrics["metrics"][primary.name]
    null = (metrics.get("null") or {}).get(primary.name)
    if primary.guessing is None and null is None:
        return constant_words(metrics)
    # What shuffled labels add is worth little while the interval holds 0.5: that comes first.
    level = primary.guessing
    guessing = level is not None and found.get("ci_low") is not None and found["ci_low"] <= level
    lies = "lies below" if guessing and (found.get("ci_high") or 1.0) < 0.5 else "includes"
    unproven = f"Its interval {lies} 0.5, so it is not shown to be better than guessing"
    if null is not None:
        reached = f"{primary.words} {number(null['mean'])} ± {number(null['sd'])}, {p_value(null['p'])}"
        if guessing and null["p"] < LEVEL:
            return f"{unproven}, though it is above the same training with labels shuffled ({reached})."
        real = "better than" if null["p"] < LEVEL else "not shown to be better than"
        times = f" {null['n']} times" if "n" in null else ""
        if "n" in null and 1 / (1 + null["n"]) >= LEVEL:
            return (
                f"With labels shuffled{times} the same training reaches {number(null['mean'])} "
                f"± {number(null['sd'])}; so few shuffles cannot give a p below {LEVEL}."
            )
        return f"It is {real} the same training with labels shuffled{times} ({reached})."
    return f"{unproven}." if guessing else ""


def constant_words(metrics: Mapping[str, Any]) -> str:
    """Whether the head is better than what says the same of everybody, where that is a row."""
    found = (metrics.get("comparison") or {}).get(told.CONSTANT)
    if found is None or found.get("p") is None:
        return ""
    primary = told.primary_of(metrics)
    same = f"what says the same of everybody ({primary.words} {number(judged(metrics, told.CONSTANT))})"
    if found["p"] >= LEVEL:
        return f"It is not shown to differ from {same}, {p_value(found['p'])}."
    return f"It is {'better' if primary.gain(found['difference']) > 0 else 'worse'} than {same}."


def comparison_words(found: Mapping[str, Any], primary: Metric) -> str:
    """One row of the comparison table in words."""
    if found.get("p") is None:
        return "cannot be compared"
    if found["p"] >= LEVEL:
        return "not shown to differ"
    return "head is better" if primary.gain(found["difference"]) > 0 else "head is worse"


def ci_words(method: str) -> str:
    """What the intervals are, for readers who do not know the name of the method."""
    if method.startswith("corrected"):
        return (
            "Metrics are computed within each test fold over participants and averaged over folds and "
            "repeats. Folds share training participants, so their spread alone would give intervals that are "
            "too narrow; the variance is enlarged for that (after Nadeau and Bengio 2003)."
        )
    if "bootstrap" in method:
        return "Intervals come from resampling the test participants; the trained model stays fixed."
    return ""


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
