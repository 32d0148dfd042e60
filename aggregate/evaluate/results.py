"""The folder of an evaluation: what it says as files, the same wherever it was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aggregate.common.artefacts import csv_text, log_to, write_json, write_text, write_yaml
from aggregate.common.run_folder import FIGURES, METHODS, METRICS_FILE, REPORT
from aggregate.evaluate.curves import Curves
from aggregate.evaluate.evaluate import Evaluation, evaluate_bundle
from aggregate.evaluate.external import external_target, open_external, trained_target
from aggregate.evaluate.joined import join_advised
from aggregate.evaluate.spec import ExternalSpec
from aggregate.predict.bundle import Bundle
from aggregate.statistics.classes.confusion import confusion_table, mean_over
from cache_schema.common.prove import Prove
from cache_schema.common.terminal.called import told_command
from cache_schema.files.disk.room import require_writable
from cache_schema.format.header import Header
from cache_schema.store.reader import StoreReader


@dataclass(frozen=True, slots=True)
class EvaluationResults:
    """Everything that the report of an evaluation shows."""

    folder: Path
    """The verb's."""
    command: str
    """The command line that makes this again."""
    config: dict[str, Any]
    """As in `config.yaml`."""
    evaluation: Evaluation
    header: Header
    """Of the external store."""


def evaluate_to(
    folder: Path,
    bundle: Bundle,
    called: str,
    spec: ExternalSpec,
    prove: Prove = "crc32c",
    store: StoreReader | None = None,
) -> EvaluationResults:
    """Evaluate a bundle; everything but the report goes to a folder.

    Args:
        folder: Of the verb.
        bundle: Trained on another cohort.
        called: Where it came from.
        spec: With absolute paths.
        prove: What the store's numbers are held to.
        store: That of the spec, where it is open already.

    Raises:
        SlicecacheError: If bundle, store or table cannot be used as asked, or somebody was in training.
    """
    require_writable(folder, "the run folder")
    card = bundle.card
    target = external_target(card.kind, trained_target(card), spec.target)
    with join_advised(card, spec):
        external = open_external(spec, target, prove, card.select, card.combine, store)
    with log_to(folder) as logger:
        evaluation = evaluate_bundle(bundle, external)
        results = EvaluationResults(
            folder=folder,
            command=told_command("evaluate"),
            config={
                "bundle": called,
                "external": {**spec.model_dump(mode="json"), "target": target.model_dump(mode="json")},
            },
            evaluation=evaluation,
            header=external.store.header,
        )
        for sentence in [*evaluation.warnings, evaluation.cohort.turnout.line(), *evaluation.notes]:
            if sentence:
                logger.info(sentence)
        write_evaluation(results)
    return results


def write_evaluation(results: EvaluationResults) -> None:
    """Write the verb's files; `metrics.json` is last, so that its presence means all is there."""
    folder, evaluation = results.folder, results.evaluation
    for name in (METRICS_FILE, REPORT, METHODS):  # an earlier run's must not pass for this one's
        (folder / name).unlink(missing_ok=True)
    write_yaml(folder / "config.yaml", results.config)
    write_text(folder / "predictions.csv", csv_text(evaluation.predictions))
    write_curves(folder, evaluation.curves)
    write_confusion(folder, evaluation.metrics)
    write_json(folder / METRICS_FILE, evaluation.metrics)


def write_curves(folder: Path, curves: Curves, prefix: str = "") -> None:
    """Write the tables behind the figures of a verb's folder."""
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, table in curves.tables().items():
        write_text(folder / FIGURES / f"{prefix}{name}.csv", csv_text(table))


def write_confusion(folder: Path, metrics: Mapping[str, Any], prefix: str = "") -> None:
    """Write who is called what as a table in a verb's folder, where there are classes."""
    if "confusion" not in metrics:
        return
    (folder / FIGURES).mkdir(exist_ok=True)
    table = confusion_table(metrics["classes"], metrics["confusion"]["counts"], mean_over(metrics))
    write_text(folder / FIGURES / f"{prefix}confusion.csv", csv_text(table))
