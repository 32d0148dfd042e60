"""Who takes part, who does not, and what is predicted of them."""

from collections import Counter

from aggregate.cohort.turnout import kind_of
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.words import joined, listed, told
from aggregate.targets.told import people_told
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.counts import counted


def cohort(run: Finished) -> str:
    """All of it."""
    return joined([source(run), participants(run), selection(run), sessions(run), left_out(run), target(run)])


def source(run: Finished) -> str:
    """What no run knows."""
    return (
        f"Source of the data, period and place of recruitment, inclusion and exclusion criteria, and how the "
        f"label was established: {TO_FILL}. Ethics approval and consent: {TO_FILL}."
    )


def participants(run: Finished) -> str:
    """How many, by label."""
    metrics = run.metrics
    n = counted(int(metrics["n_participants"]), "participant")
    if metrics["task"] == "detection":
        return f"The analysis holds {n} with {counted(int(metrics['n_volumes']), 'volume')}."
    bags = counted(int(metrics["n_bags"]), "bag")
    return f"The analysis holds {n} ({people_told(metrics)}) with {bags} of slices."


def selection(run: Finished) -> str:
    """Conditions that rows and volumes had to meet."""
    said = []
    if run.said("where"):
        said.append(f"rows of the table with `{label(str(run.said('where')), 200)}` were used")
    chosen = {name: value for name, value in (run.said("select") or {}).items() if value is not None}
    if chosen:
        said.append(f"volumes were selected by {told(chosen)}")
    if run.said("missing"):
        said.append(f"the codes {told(run.said('missing'))} counted as missing")
    return f"{listed(said).capitalize()}." if said else ""


def sessions(run: Finished) -> str:
    """Which sessions of a participant."""
    which = run.said("sessions")
    if which == "all":
        return "All sessions of a participant were used; a participant's score is the mean over them."
    if which in ("first", "last"):
        return f"Of participants with several sessions the {which} one was used."
    return f"The session used is named by the column `{label(str(which))}`." if which else ""


def left_out(run: Finished) -> str:
    """Who was left out and why; every name is in `metrics.json`."""
    turnout, rows = run.metrics.get("turnout"), run.metrics.get("left_out")
    if turnout is None or rows is None:
        return f"Who was left out, and why: {TO_FILL}."
    people = turnout["participants"]
    used = f"{people['used']} of {counted(people['known'], 'participant')} of the store were used"
    if not rows:
        return f"{used}; nobody was left out."
    reasons = Counter(kind_of(row["reason"]) for row in rows)
    told_reasons = listed(f"{n} {label(reason, 120)}" for reason, n in reasons.most_common())
    one = len(rows) == 1
    what = "1 volume or row of the table was" if one else f"{len(rows)} volumes or rows of the table were"
    return f"{used}; {what} left out ({told_reasons})."


def target(run: Finished) -> str:
    """What is predicted."""
    metrics = run.metrics
    if metrics["task"] == "detection":
        return ""
    classes = metrics.get("classes") or []
    what = f"The target is `{label(str(metrics['target']))}`"
    if metrics.get("positive"):
        what += f", the positive class {label(str(metrics['positive']))}"
    elif classes:
        what += f" with the classes {listed(label(str(name)) for name in classes)}"
    else:
        what += f", a target of the kind {label(str(metrics['task']))}"
    return f"{what}."
