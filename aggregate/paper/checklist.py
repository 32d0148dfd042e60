"""The checklists TRIPOD+AI and CLAIM as a page: filled with what the run knows, open where it does not.

Items are those of Collins et al. 2024 (BMJ 385:e078378) and of Mongan et al. 2020 (Radiology: Artificial
Intelligence 2:e200029), by number and in our own short words; the statements themselves say more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aggregate.common.run_folder import METHODS
from aggregate.paper.finished import TO_FILL, Finished
from aggregate.paper.sentences import (
    backbone,
    calibrated,
    cohort,
    computed,
    detectors,
    images,
    outcome,
    statistics,
    training,
)
from aggregate.paper.sentences.words import joined
from aggregate.report.pages.rendering import rendered

Say = Callable[[Finished], str]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a checklist."""

    number: str
    words: str
    say: Say | None = None
    """What the run knows of it; None where no run can."""


def _missing(run: Finished) -> str:
    return joined([cohort.selection(run), cohort.left_out(run)])


def _model(run: Finished) -> str:
    return detectors.detectors(run) if run.verb == "detect" else training.training(run)


def _fixed_threshold(run: Finished) -> str:
    return "" if run.verb == "detect" else calibrated.inside(run)


def _tested(run: Finished) -> str:
    whole: dict[str, Say] = {"evaluate": statistics.fixed, "detect": detectors.judged}
    return whole.get(run.verb, statistics.statistics)(run)


def _sides(run: Finished) -> str:
    whole: dict[str, Say] = {"evaluate": statistics.fixed, "detect": detectors.reference}
    return whole.get(run.verb, statistics.folds)(run)


def _measured(run: Finished) -> str:
    return detectors.judged(run) if run.verb == "detect" else statistics.measures(run)


def _outside(run: Finished) -> str:
    return statistics.fixed(run) if run.verb == "evaluate" else ""


def _balance(run: Finished) -> str:
    found = training.resolved_training(run) if run.verb in ("train", "ablate") else None
    if found is None:
        return ""
    ways: Mapping[object, str] = {
        True: "Batches held equal shares of the classes.",
        "drawn": "Bags were drawn so that classes came equally often.",
    }
    return ways.get(found.class_balanced, "Nothing was done about unequal classes in training.")


TRIPOD: tuple[Item, ...] = (
    Item("1", "title: development or evaluation of a prediction model, population, outcome"),
    Item("2", "abstract by TRIPOD+AI for Abstracts"),
    Item("3a", "health care context, why the model is wanted, models that exist"),
    Item("3b", "for whom and by whom it is meant, where in care"),
    Item("3c", "known inequalities between groups of people"),
    Item("4", "objectives: development, evaluation, or both"),
    Item("5a", "sources of the data and how representative they are"),
    Item("5b", "dates: recruitment and follow-up"),
    Item("6a", "setting: centres, number and place"),
    Item("6b", "eligibility", cohort.selection),
    Item("6c", "treatments received"),
    Item("7", "preparation of the data, and whether alike for all groups", images.images),
    Item("8a", "outcome: what, when, why, alike for all groups", cohort.target),
    Item("8b", "who assessed the outcome, if it needs judgement"),
    Item("8c", "blinding of that assessment"),
    Item("9a", "choice of predictors", backbone.tokens),
    Item("9b", "predictors: what, how, when measured", backbone.backbone),
    Item("9c", "who assessed predictors, if they need judgement"),
    Item("10", "study size and how it was arrived at", cohort.participants),
    Item("11", "missing data and who was left out", _missing),
    Item("12a", "use of the data: parts for development and for evaluation", _sides),
    Item("12b", "handling of predictors", training.harmonised_of),
    Item("12c", "kind of model, its building, its settings, internal validation", _model),
    Item("12d", "differences between clusters such as centres", outcome.left),
    Item("12e", "measures and plots, and comparison of models", _measured),
    Item("12f", "updating of the model after evaluation"),
    Item("12g", "evaluation: how predictions were calculated", _outside),
    Item("13", "unequal classes: what was done, and recalibration", _balance),
    Item("14", "fairness: what was done"),
    Item("15", "output of the model, and thresholds", _fixed_threshold),
    Item("16", "differences between development and evaluation data", _outside),
    Item("17", "ethics approval and consent"),
    Item("18a", "funding"),
    Item("18b", "conflicts of interest"),
    Item("18c", "protocol"),
    Item("18d", "registration"),
    Item("18e", "availability of the data"),
    Item("18f", "availability of the code", computed.computed),
    Item("19", "involvement of patients and the public"),
    Item("20a", "flow of participants", cohort.left_out),
    Item("20b", "characteristics of participants, by centre", cohort.participants),
    Item("20c", "evaluation: distribution of predictors against development"),
    Item("21", "participants and events in each analysis", cohort.participants),
    Item("22", "the whole model, so that others can use it", computed.again),
    Item("23a", "performance with intervals, and in groups of people", outcome.outcome),
    Item("23b", "heterogeneity between clusters", outcome.left),
    Item("24", "results of updating"),
    Item("25", "interpretation, fairness included"),
    Item("26", "limitations"),
    Item("27a", "use: how bad or missing input is handled"),
    Item("27b", "use: what users must do and know"),
    Item("27c", "next steps"),
)
CLAIM: tuple[Item, ...] = (
    Item("1", "title or abstract names the technique"),
    Item("2", "structured abstract"),
    Item("3", "background, intended use, clinical role"),
    Item("4", "objectives and hypotheses"),
    Item("5", "prospective or retrospective"),
    Item("6", "goal: creation of a model, exploration, feasibility, ..."),
    Item("7", "sources of the data"),
    Item("8", "eligibility: how, where and when participants were found", cohort.selection),
    Item("9", "preprocessing of the data", images.images),
    Item("10", "selection of subsets", _missing),
    Item("11", "definitions of data elements", cohort.target),
    Item("12", "how data were deidentified"),
    Item("13", "missing data", _missing),
    Item("14", "reference standard", cohort.target),
    Item("15", "why that one"),
    Item("16", "who annotated, with which training"),
    Item("17", "annotation tools"),
    Item("18", "variability of annotators, and disagreement"),
    Item("19", "intended sample size, and how it was arrived at"),
    Item("20", "how data were divided", _sides),
    Item("21", "at which level parts are disjoint", _sides),
    Item("22", "the model: input, layers, output", backbone.backbone),
    Item("23", "software, versions", computed.versions),
    Item("24", "first weights of the model", training.start),
    Item("25", "training: augmentation, settings, how many models", _model),
    Item("26", "how the final model was chosen", statistics.nested),
    Item("27", "ensembles", training.seeds),
    Item("28", "measures of performance", _measured),
    Item("29", "uncertainty: intervals and tests", _tested),
    Item("30", "robustness"),
    Item("31", "explanations"),
    Item("32", "test on external data", _outside),
    Item("33", "flow of participants", cohort.left_out),
    Item("34", "demographics and clinical characteristics in each part", cohort.participants),
    Item("35", "performance on all parts", outcome.outcome),
    Item("36", "accuracy with intervals", outcome.outcome),
    Item("37", "failures and errors"),
    Item("38", "limitations"),
    Item("39", "what it means for practice"),
    Item("40", "registration"),
    Item("41", "where protocol, data and code are", computed.again),
    Item("42", "funding"),
)


def filled(items: tuple[Item, ...], run: Finished) -> list[tuple[str, str, str]]:
    """Number, words and what the run knows, empty where the item is open."""
    return [(item.number, item.words, item.say(run) if item.say is not None else "") for item in items]


def checklist_page(run: Finished) -> str:
    """The HTML file as text."""
    lists = [
        ("TRIPOD+AI", "Collins et al., BMJ 2024;385:e078378", filled(TRIPOD, run)),
        ("CLAIM", "Mongan et al., Radiology: Artificial Intelligence 2020;2:e200029", filled(CLAIM, run)),
    ]
    # A detector predicts nobody's outcome: TRIPOD+AI does not ask for it.
    shown = lists[1:] if run.verb == "detect" else lists
    n_open = {name: sum(not text for *_, text in rows) for name, _, rows in shown}
    content = {
        "target": run.metrics.get("target") or "anomaly detection",
        "verb": run.verb,
        "lists": shown,
        "open": n_open,
        "to_fill": TO_FILL,
        "methods": METHODS,
    }
    return rendered("checklist.html", content)
