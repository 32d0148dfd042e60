"""How predictions were tested: folds, metrics, intervals, comparisons, chance."""

from aggregate.baselines.names import crop_of
from aggregate.cohort.folds import MATCHED
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.calibrated import inside
from aggregate.paper.sentences.training import labelled
from aggregate.paper.sentences.words import cite, joined, listed, told
from aggregate.report.text.words import LEVEL, METRICS, area, named
from aggregate.targets.told import bar_of, primary_of
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted

MEASURES: dict[str, tuple[str, ...]] = {
    "ece": ("guo2017calibration",),
    "c_index": ("harrell1996multivariable",),
    "uno_c": ("uno2011cstatistics",),
    "calibration_slope": ("vancalster2019calibration",),
    "auroc_pairwise": ("hand2001multiclass",),
}
"""Where measures come from that not everybody knows."""


def folds(run: Finished) -> str:
    """Who is trained on and who is tested."""
    metrics, spec = run.metrics, run.said("folds") or {}
    group, split = run.said("leave_group_out"), run.said("split")
    if split:
        return "Training, validation and test parts were given beforehand by a column of the table."
    if group:
        return (
            f"Each value of `{label(str(group))}` was left out of training once and tested by the models "
            f"that "
            f"saw nobody of it ({counted(int(metrics['n_folds']), 'fold')})."
        )
    also = matched_words(run)
    return (
        f"Predictions are out-of-fold: {counted(int(metrics['n_folds']), 'fold')} of participants, "
        f"stratified by "
        f"the label{also}, repeated {counted(int(metrics['n_repeats']), 'time')} (seed "
        f"{told(spec.get('seed'))}). A "
        "participant is on one side of a fold only."
    )


def matched_words(run: Finished) -> str:
    """By what else folds were dealt: as the run found it, else as it was asked."""
    asked = (run.said("folds") or {}).get("matched")
    found = next((note.removeprefix(MATCHED) for note in notes_of(run) if note.startswith(MATCHED)), "")
    if found:
        return f" and by what the design matched ({label(found, 200)})"
    return f" and, as far as the design matched them, by {told(asked)}" if asked else ""


def measures(run: Finished) -> str:
    """What is reported."""
    metrics = run.metrics
    shown = []
    for name in metrics["metrics"]:
        source = f" {cite(*MEASURES[name])}" if name in MEASURES else ""
        called = METRICS.get(name, name).replace(", folds pooled", " over pooled folds")
        shown.append(f"{called}{source}")
    return f"The primary measure is {area(metrics)}; reported are {listed(shown)}."


def intervals(run: Finished) -> str:
    """The method of the intervals, as `metrics.json` names it."""
    method = str(run.metrics.get("ci_method") or "")
    if not method:
        return f"Intervals: {TO_FILL}."
    sources = [
        key
        for word, key in (
            ("Nadeau", "nadeau2003inference"),
            ("DeLong", "delong1988comparing"),
            ("bootstrap", "efron1993bootstrap"),
            ("Wilson", "wilson1927probable"),
        )
        if word in method
    ]
    return f"Intervals are at the 95 % level: {method}{' ' + cite(*sources) if sources else ''}."


def comparison(run: Finished) -> str:
    """Against what, and by which test."""
    metrics = run.metrics
    others = [named(name) for name in metrics.get("baselines") or {}]
    if not others:
        return ""
    bar = bar_of(metrics)
    first = f"Beside it stand {listed(others)}, on the same folds"
    best = f"; {named(bar)} is the one that a head has to beat" if bar in metrics["baselines"] else ""
    if run.verb == "evaluate":
        return f"Beside it stand {listed(others)}, all fixed in training."
    return (
        f"{first}{best}. {made_of(run)}Differences are tested two-sided by the corrected resampled t test "
        f"{cite('nadeau2003inference')} over folds and repeats; a difference with p below {LEVEL} is "
        f"called one.{counts_as_guessing(run)}"
    )


def made_of(run: Finished) -> str:
    """What baselines without an embedding know, as the run notes it; ends in a space where there is one."""
    shown = []
    for name in run.metrics.get("baselines") or {}:
        told_of = (note.removeprefix(f"{name}: ") for note in notes_of(run) if note.startswith(f"{name}: "))
        columns = next((words for words in told_of if words.startswith(("confounds: ", "columns: "))), "")
        if columns:
            shown.append(f"{named(name)} ({label(columns.partition(': ')[2], 300)})")
    if not shown:
        return ""
    brain = "; brain_ml is the volume of the brain in ml, by the images" if "brain_ml" in str(shown) else ""
    first = f"Without an embedding, by logistic regression or its like on columns: {listed(shown)}{brain}."
    return f"{joined([first, label(crop_of(notes_of(run)), 400)])} "


def counts_as_guessing(run: Finished) -> str:
    """That a row below 0.5 is compared as 0.5, where there is one."""
    below = any(note.startswith("AUROC below 0.5: ") for note in notes_of(run))
    return " In comparisons an AUROC below 0.5 counts as 0.5." if below else ""


def notes_of(run: Finished) -> list[str]:
    """Of the report."""
    return [str(note) for note in run.page.get("notes") or []]


def primary(run: Finished) -> str:
    """Which comparisons were named before, and how the others count."""
    pairs = run.metrics["ablation"]["primary"]
    if not pairs:
        return "No comparison was named beforehand: every difference is exploratory."
    told_pairs = listed(
        " against ".join(labelled(run, name) for name in one["configurations"]) for one in pairs
    )
    return (
        f"Named before the results were known: {told_pairs}. Their p are adjusted together by Holm's method "
        f"{cite('holm1979simple')}; every other comparison is exploratory and its p is not adjusted."
    )


def nested(run: Finished) -> str:
    """How a configuration was chosen, if one was."""
    select = run.said("ablate", "select")
    if not select:
        return ""
    return (
        f"A configuration was also chosen by {told(select.get('folds'))} inner folds of every training "
        f"part, and "
        "the choice was judged on the outer test part."
    )


def null(run: Finished) -> str:
    """Shuffled labels."""
    found = (run.metrics.get("null") or {}).get(primary_of(run.metrics).name)
    if not found or "n" not in found:
        return "No training on shuffled labels was made."
    return (
        f"The whole procedure was repeated on {counted(int(found['n']), 'permutation')} of the labels "
        f"between "
        "participants; p = (1 + times at least as good) / (1 + permutations)."
    )


def statistics(run: Finished) -> str:
    """All of a training's."""
    parts = [folds(run), inside(run), measures(run), intervals(run), comparison(run)]
    if run.verb == "ablate":
        parts += [primary(run), nested(run)]
    return joined([*parts, null(run)])


def fixed(run: Finished) -> str:
    """Of an external evaluation."""
    metrics = run.metrics
    threshold = metrics.get("threshold")
    frozen = (
        f" The threshold of {threshold:.3g} and the temperature were frozen in training."
        if threshold is not None
        else ""
    )
    members = counted(int(metrics["n_members"]), "member")
    first = (
        f"The bundle's {members} were applied as they were and their logits averaged; nothing was fitted or "
        f"chosen on this cohort, and nobody of it was in training.{frozen}"
    )
    return joined([first, measures(run), intervals(run), comparison(run)])
