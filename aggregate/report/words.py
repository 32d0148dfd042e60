"""The report's sentences: what was found, said so that nobody can misread it."""

from typing import Any

from cache_schema.header import Header

NAMES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "brier": "Brier score",
}
"""Metric -> heading, in the order of the table."""

BASELINES = {
    "mean_pool_logistic": "mean pooling + logistic regression",
    "confounds_only": "confounds only",
    "acquisition_only": "acquisition only",
}
LEVEL = 0.05


def is_untrained(header: Header) -> bool:
    """Whether the backbone's weights are random."""
    return header.fingerprint.backbone.architecture.get("kind") == "untrained"


def number(interval: dict[str, Any] | None) -> str:
    """`0.81 [0.70, 0.92]`, a bare value where there is no interval, a dash where it is not defined."""
    if interval is None or interval["value"] is None:
        return "–"
    if interval["ci_low"] is None:
        return f"{interval['value']:.2f}"
    return f"{interval['value']:.2f} [{interval['ci_low']:.2f}, {interval['ci_high']:.2f}]"


def baseline_name(name: str) -> str:
    """A baseline as people call it."""
    return BASELINES.get(name, name)


def verdict(metrics: dict[str, Any]) -> list[str]:
    """The answer in a few sentences: how well, better than what, and than chance."""
    head = metrics["configuration"]
    value = number(metrics["metrics"]["auroc"])
    classes = ", ".join(metrics["classes"])
    if metrics["task"] == "binary":
        classes = " and ".join(metrics["classes"])
        sentences = [f"{head} separates {classes} with an AUROC of {value}."]
    else:
        sentences = [f"{head} tells {classes} apart with a macro AUROC of {value}."]
    sentences += [comparison(head, name, found) for name, found in metrics.get("comparison", {}).items()]
    if "null" in metrics:
        null = metrics["null"]["auroc"]
        spread = f"{null['mean']:.2f} (sd {null['sd']:.2f}): p = {null['p']:.3f}"
        sentences.append(f"With shuffled labels the same procedure gives {spread}.")
    return sentences


def comparison(head: str, name: str, found: dict[str, Any]) -> str:
    """One comparison; not significant is never called equal."""
    other = baseline_name(name)
    if found["p"] is None:
        return f"Against {other} the difference does not vary over folds, so nothing can be said of it."
    size = (
        f"{found['difference']:+.2f} [{found['ci_low']:+.2f}, {found['ci_high']:+.2f}], p = {found['p']:.3f}"
    )
    if found["p"] >= LEVEL:
        return f"It is not shown to differ from {other} ({size}); that is not a proof of equality."
    side = "better" if found["difference"] > 0 else "worse"
    return f"It is {side} than {other} ({size})."
