"""What was found, as the report says it: sentences that follow the numbers and go no further."""

from typing import Any

from aggregate.paper.finished import Finished
from aggregate.paper.sentences.explained import explained
from aggregate.paper.sentences.training import labelled
from aggregate.paper.sentences.words import joined
from aggregate.report.text.words import LEVEL, area, capital, interval, named, number, p_value, verdict
from aggregate.statistics.cautions import cannot_compare
from aggregate.targets.told import primary_of
from cache_schema.common.text.counts import counted


def outcome(run: Finished) -> str:
    """By verb."""
    if run.verb == "detect":
        said = run.metrics["verdict"]
        parts = [said] if isinstance(said, str) else [str(sentence) for sentence in said]
        parts.append(prevalence(run))
    elif run.verb == "explain":
        parts = explained(run)
    elif run.verb == "ablate":
        others = [str(sentence) for sentence in run.page.get("other_sentences") or []]
        parts = [*primary_results(run), *others, *levels(run)]
    else:
        parts = [
            ("Outside training: " if run.verb == "evaluate" else "") + verdict(run.metrics),
            *levels(run),
        ]
        parts.append(left(run))
    return joined([*parts, *shortcuts(run), *warned(run)])


def levels(run: Finished) -> list[str]:
    """The primary measure of everything in the table."""
    metrics, name = run.metrics, primary_of(run.metrics).name
    rows: dict[str, Any]
    if run.verb == "ablate":
        rows = {labelled(run, key): one for key, one in metrics["ablation"]["configurations"].items()}
    else:
        rows = {named(str(metrics["configuration"])): metrics["metrics"]}
    rows |= {named(key): one for key, one in metrics["baselines"].items()}
    told = [
        f"{called} {number(row[name]['value'])}"
        + (f" ({interval(row[name])})" if interval(row[name]) else "")
        for called, row in rows.items()
        if row.get(name) and row[name].get("value") is not None
    ]
    return [f"{area(metrics)} with 95 % intervals: {'; '.join(told)}."] if told else []


def primary_results(run: Finished) -> list[str]:
    """Comparisons that were named beforehand, judged by Holm's p."""
    metric, found = primary_of(run.metrics), []
    for one in run.metrics["ablation"]["primary"]:
        a, b = (labelled(run, name) for name in one["configurations"])
        if one.get("p_holm") is None:
            found.append(f"Primary: {cannot_compare(a, b, one if 'difference' in one else None)}.")
            continue
        size = f"{metric.words} {number(one['difference'], signed=True)}, {interval(one, signed=True)}"
        size += f", Holm {p_value(one['p_holm'])}"
        better = "better" if metric.gain(one["difference"]) > 0 else "worse"
        word = "not shown to differ from" if one["p_holm"] >= LEVEL else f"{better} than"
        found.append(f"Primary: {a} is {word} {b} ({size}).")
    return found


def left(run: Finished) -> str:
    """Groups that were left out one by one."""
    groups, metric = run.metrics.get("groups") or {}, primary_of(run.metrics)
    told = [f"{name} {number(one['metrics'][metric.name]['value'])}" for name, one in groups.items()]
    return f"{metric.words} by group left out: {'; '.join(told)}." if told else ""


def prevalence(run: Finished) -> str:
    """How much of the foreground is lesion: what an average precision of chance would be."""
    found = next((row["foreground"] for row in run.metrics["metrics"].values() if "foreground" in row), None)
    share = None if found is None else found["prevalence"]["value"]
    if found is None or share is None:
        return ""
    n = found["n_lesions"]["value"]
    lesions = f", {counted(round(n), 'lesion')}" if n else ""
    return f"Of the foreground voxels judged {share:.1%} are lesion{lesions}."


def shortcuts(run: Finished) -> list[str]:
    """What else tokens and labels go with: the site, and what is known without the images."""
    told = [run.metrics.get(name) for name in ("site", "adjusted")]
    said = [str(one["said"]) for one in told if isinstance(one, dict) and one.get("said")]
    warnings = run.metrics.get("warnings") or []
    return [f"{capital(one.rstrip('.'))}." for one in said if one not in warnings]


def warned(run: Finished) -> list[str]:
    """What makes the results doubtful."""
    return [f"Caution: {str(one).rstrip('.')}." for one in run.metrics.get("warnings") or []]
