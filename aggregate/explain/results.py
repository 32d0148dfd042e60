"""The folder of an explanation: what it says as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aggregate.common.artefacts import csv_text, log_to, write_json, write_text, write_yaml
from aggregate.common.run_folder import METRICS_FILE, REPORT
from aggregate.common.versions import versions
from aggregate.explain.controls import CONTROLS
from aggregate.explain.deletion import WAYS, area
from aggregate.explain.explain import Explained, explain_bags
from aggregate.explain.looking import Asked
from aggregate.explain.maps import write_slice_maps
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.run import TrainedStudy
from aggregate.explain.tables import attention_table, method_table, share_table
from aggregate.explain.verdict import LEVEL, RULE
from aggregate.statistics.evaluate import people_json
from aggregate.targets.base import learnt
from cache_schema.common.terminal.called import told_command
from cache_schema.common.terminal.progress import bar

FIGURES = "figures"
TABLE = "attention.csv"


@dataclass(frozen=True, slots=True)
class ExplainResults:
    """Everything that the report of an explanation shows."""

    study: TrainedStudy
    found: Explained
    metrics: dict[str, Any]
    """As in `metrics.json`."""
    config: dict[str, Any]
    """As in `config.yaml`."""
    command: str
    """The command line that makes this again."""

    @property
    def folder(self) -> Path:
        """The verb's."""
        return self.study.folder


def explain_run(
    study: TrainedStudy, methods: Sequence[MethodBase], seed: int = 0, maps: bool = True
) -> ExplainResults:
    """Explain a finished training; everything but the report goes to its folder.

    Args:
        study: As `open_run` gives it.
        methods: The first is the one that maps are written of.
        seed: Of random heads and of who gets whose map.
        maps: Whether NIfTI maps are written.

    Raises:
        SlicecacheError: If nobody can be explained, or no method says anything of the head.
    """
    cohort = study.cohort
    questions = learnt(cohort.kind).questions(cohort.target, cohort.values, study.bundle.card.n_outputs)
    known = study.bundle.card.recognised(cohort.records)
    asked = Asked(
        study.bundle,
        study.bags,
        cohort.participants.tolist(),
        questions,
        tuple(methods),
        seed=seed,
        known=known,
    )
    with log_to(study.folder) as logger:
        for name in (METRICS_FILE, REPORT):  # an earlier run's must not pass for this one's
            (study.folder / name).unlink(missing_ok=True)
        with bar("explaining") as progress:
            found = explain_bags(asked, progress)
        results = ExplainResults(
            study=study,
            found=found,
            metrics=metrics_of(found, study),
            config={
                "bundle": str(study.bundle_folder),
                "store": study.store.location,
                "methods": [method.model_dump(mode="json") for method in found.asked.methods],
                "seed": seed,
            },
            command=told_command("explain"),
        )
        if maps:
            write_slice_maps(study, found)
        for sentence in results.metrics["notes"]:
            logger.info(sentence)
        write_explanation(results)
    return results


def metrics_of(found: Explained, study: TrainedStudy) -> dict[str, Any]:
    """The content of `metrics.json`."""
    cohort = study.cohort
    first = found.asked.methods[0].name
    return {
        "task": cohort.task,
        "target": cohort.target,
        **cohort.kind.facts(),
        "configuration": study.bundle.card.members[0].configuration,
        "n_participants": len(found.persons),
        **people_json(cohort, np.unique(np.concatenate([one.rows for one in found.looked]))),
        "n_members": len(found.looked),
        "fingerprint": study.store.header.fingerprint.digest,
        "numerics": study.store.header.numerics.digest,
        "content_digest": study.store.content_digest(),
        "evidence_of": [question.name for question in found.questions],
        "method": first,
        "interpretable": found.judgements[first].interpretable,
        "methods": {method.name: _method(found, method) for method in found.asked.methods},
        "rule": RULE,
        "level": LEVEL,
        "left_out_methods": found.left_out,
        "notes": notes_of(found, study),
        "versions": versions(),
    }


def _method(found: Explained, method: MethodBase) -> dict[str, Any]:
    """One method: verdict, areas beside its controls', and stability."""
    judged = found.judgements[method.name]
    areas: dict[str, dict[str, float]] = {
        way: {name: float(area(curve)) for name, curve in found.separations(method.name, way).items()}
        for way in WAYS
    }
    return {
        "words": method.words,
        "verdict": judged.words,
        "reason": judged.reason,
        "p": judged.p,
        "p_holm": judged.p_holm,
        **areas,
        "against": {
            name: {
                "difference": one.value,
                "ci_low": _number(one.low),
                "ci_high": _number(one.high),
                "p": _number(one.p),
            }
            for name, one in judged.against.items()
        },
        "stability": {
            name: {"spearman": one.value, "volumes": one.volumes}
            for name, one in found.stability[method.name].items()
        },
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def notes_of(found: Explained, study: TrainedStudy) -> list[str]:
    """Plain sentences on how it was done."""
    people = len(set(study.cohort.participants.tolist()))
    notes = [
        "every participant is explained by members of the bundle that did not see them; the order of slices "
        "never looks at a label",
        *(f"control: {told}" for told in CONTROLS.values()),
    ]
    if found.asked.known.n_volumes:
        tells_whose = bool(study.bundle.card.volumes)
        told = found.asked.known.sentence("explained by the members that did not see them", tells_whose)
        notes.append(told)
    if len(found.persons) < people:
        notes.append(
            f"{people - len(found.persons)} of {people} participants had a part in every member and are not "
            "explained"
        )
    if found.stability_saw:
        notes.append(
            "with one repeat and one seed nobody is explained twice: stability is between the member that "
            "did not see a participant and the next fold's, which did; folds: {repeats: 2} gives two that "
            "did not"
        )
    notes += [f"{name} was left out: {reason}" for name, reason in found.left_out.items()]
    return notes


def write_explanation(results: ExplainResults) -> None:
    """Write the verb's files; `metrics.json` is last, so that its presence means all is there."""
    folder, found, cohort = results.folder, results.found, results.study.cohort
    write_yaml(folder / "config.yaml", results.config)
    write_text(folder / TABLE, csv_text(attention_table(found, cohort)))
    write_text(folder / "methods.csv", csv_text(method_table(found)))
    (folder / FIGURES).mkdir(exist_ok=True)
    for way in WAYS:
        write_text(folder / FIGURES / f"{way}.csv", csv_text(share_table(found, way)))
    write_json(folder / METRICS_FILE, results.metrics)
