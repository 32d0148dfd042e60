"""`methods.md`: the sentences of all topics under their headings, and what was found in sentences."""

from collections.abc import Callable

from aggregate.common.run_folder import CHECKLIST, FIGURES, REFERENCES, TABLES
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences.backbone import backbone
from aggregate.paper.sentences.cohort import cohort
from aggregate.paper.sentences.computed import computed
from aggregate.paper.sentences.configurations import configurations
from aggregate.paper.sentences.detectors import detection
from aggregate.paper.sentences.explained import explanation
from aggregate.paper.sentences.images import images
from aggregate.paper.sentences.outcome import outcome
from aggregate.paper.sentences.statistics import fixed, statistics
from aggregate.paper.sentences.training import training
from aggregate.paper.sentences.words import cite

Topic = Callable[[Finished], str]
FIRST: dict[str, Topic] = {"Participants": cohort, "Images": images, "Backbone": backbone}
OF_VERB: dict[str, dict[str, Topic]] = {
    "train": {"Training": training, "Statistical analysis": statistics},
    "ablate": {"Training": training, "Configurations": configurations, "Statistical analysis": statistics},
    "evaluate": {"Evaluation on an external cohort": fixed},
    "detect": {"Anomaly detection": detection},
    "explain": {"Explanation": explanation},
}


def methods(run: Finished) -> str:
    """The whole text, in Markdown with pandoc's citations."""
    last: dict[str, Topic] = {"Reporting": reporting, "What was found": outcome}
    first = {} if run.verb == "explain" else FIRST  # they stand in the training's own text
    topics = {**first, **OF_VERB[run.verb], "Software and reproduction": computed, **last}
    parts = [f"## {title}\n\n{text}" for title, topic in topics.items() if (text := topic(run))]
    target = f": {run.metrics['target']}" if run.metrics.get("target") else ""
    return "\n\n".join([f"# Methods{target}", preface(run), *parts]) + "\n"


def reporting(run: Finished) -> str:
    """Which checklists the page beside answers."""
    if run.verb == "explain":
        return ""
    claim = f"CLAIM {cite('mongan2020claim')}"
    lists = claim if run.verb == "detect" else f"TRIPOD+AI {cite('collins2024tripodai')} and {claim}"
    return f"Reporting follows {lists}; open items: `{CHECKLIST}`."


def preface(run: Finished) -> str:
    """How the text is to be used."""
    items = "" if run.verb == "explain" else f"; reporting items: `{CHECKLIST}`"
    return (
        f"Written by slicecache from what this run left; every number in it is the run's. What the run "
        f"does not know "
        f"is marked {TO_FILL}. References: `{REFERENCES}`; tables: `{TABLES}/`; figures and their numbers: "
        f"`{FIGURES}/`{items}."
    )
