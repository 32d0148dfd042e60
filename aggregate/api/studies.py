"""The studies of the command, from Python: `sc.train`, `sc.ablate`, `sc.detect`, `sc.predict`.

They do what the command does with the same pipeline and give the same numbers. Without `folder` nothing is
left behind: what a study must put aside while it runs lies in a temporary folder.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggregate.ablate.ablate import ablate_pipeline
from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.study.bundle import DetectorBundle, load_detectors
from aggregate.anomaly.study.detect import run_detection
from aggregate.api.given_table import called_dataframe, written_table
from aggregate.api.kept_files import KeptFiles, keeping, moved
from aggregate.api.results import AblateResult, DetectResult, TrainResult, train_table
from aggregate.cohort.turnout import Turnout
from aggregate.config.section import read_aggregate_section
from aggregate.detect import detect_pipeline, detect_plan, present_detection
from aggregate.predict.bundle import load_bundle
from aggregate.present import present_ablation, present_index, present_training
from aggregate.train.train import train_pipeline
from cache_schema.common.given_config import Config, given_pipeline
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.text.cells import plain_cell

if TYPE_CHECKING:
    from aggregate.api.store import Store

KEYS = ("participant_id", "session_id", "volume_id")


def train(
    config: Config = None,
    *,
    store: "str | Path | Store | None" = None,
    cohort: "str | Path | pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    shuffle_labels: int = 0,
    **keys: Any,
) -> TrainResult:
    """Train a head in cross-validation and compare it with its baselines.

    Args:
        config: A pipeline as a mapping, its `aggregate` section alone, or the path of a pipeline file.
        store: Instead of the config's.
        cohort: The table of labels, as a path or a DataFrame (whose index is a column if it has a name),
            instead of the config's.
        folder: A run folder to write to, as the command does; without it nothing is written, whatever
            `run.folder` the config has.
        shuffle_labels: Permutations of the labels to train on beside.
        keys: Keys of the `aggregate` section, instead of the config's: `target="diagnosis"`,
            `head={"kind": "mst"}`, or a head of your own.

    Raises:
        SlicecacheError: If the config, the store or the table cannot be used as asked.

    Example:
        >>> found = sc.train(store="cache.zarr", cohort="participants.tsv", target="diagnosis")
        >>> found.table
        >>> sc.train("pipeline.yaml", head={"kind": "gated_attention"}, folder="runs/gated")
    """
    with called_dataframe(cohort), keeping(folder) as files:
        pipeline = _pipeline(config, store, cohort, files, keys)
        results = train_pipeline(pipeline, read_aggregate_section(pipeline), shuffle_labels)
        draw = partial(_draw, present_training, results, files.folder)
        if not files.temporary:
            draw(files.folder)
        return TrainResult(
            metrics=results.metrics,
            table=train_table(results.metrics),
            predictions=results.predictions,
            left_out=_left_out(results.turnout),
            config=results.config,
            notes=results.notes,
            warnings=results.warnings,
            _files=files,
            _draw=draw,
            bundle=load_bundle(results.folder / "bundle"),
            attention=results.attention,
        )


def ablate(
    config: Config = None,
    *,
    store: "str | Path | Store | None" = None,
    cohort: "str | Path | pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    shuffle_labels: int = 0,
    **keys: Any,
) -> AblateResult:
    """Train many configurations on the same folds and test what was named before.

    Args:
        config: As for `sc.train`, with `ablate`.
        store: As for `sc.train`.
        cohort: As for `sc.train`.
        folder: As for `sc.train`; with it, a study that was killed goes on where it was.
        shuffle_labels: Permutations of the labels to train the reference and the primary configurations on.
        keys: As for `sc.train`.

    Raises:
        SlicecacheError: If the config, a store or the table cannot be used as asked.

    Example:
        >>> heads = {"mean": {"head.kind": "mean"}, "attention": {"head.kind": "attention"}}
        >>> found = sc.ablate("pipeline.yaml", ablate={"configurations": heads, "reference": "mean"})
        >>> found.table
    """
    with called_dataframe(cohort), keeping(folder) as files:
        results = ablate_pipeline(_pipeline(config, store, cohort, files, keys), shuffle_labels)
        draw = partial(_draw, present_ablation, results, files.folder)
        if not files.temporary:
            draw(files.folder)
        return AblateResult(
            metrics=results.metrics,
            table=_as_given(pd.read_csv(results.folder / "ablation.csv")),
            predictions=_read_predictions(results.folder / "predictions.csv"),
            left_out=_left_out(results.turnout),
            config=results.config,
            notes=results.notes,
            warnings=results.warnings,
            _files=files,
            _draw=draw,
        )


def detect(
    config: Config = None,
    *,
    store: "str | Path | Store | None" = None,
    cohort: "str | Path | pd.DataFrame | None" = None,
    folder: str | Path | None = None,
    **keys: Any,
) -> DetectResult:
    """Fit anomaly detectors on a reference group, score everybody else and measure.

    Args:
        config: As for `sc.train`, with `detect`; it needs no target.
        store: As for `sc.train`.
        cohort: As for `sc.train`.
        folder: As for `sc.train`; with it, a study that was killed goes on where it was.
        keys: As for `sc.train`.

    Raises:
        SlicecacheError: If the config, a store, the table or the masks cannot be used as asked.

    Example:
        >>> normals = {"column": "diagnosis", "value": "control"}
        >>> detectors = [{"kind": "memory_bank"}]
        >>> found = sc.detect("lesions.yaml", detect={"reference": normals, "detectors": detectors})
        >>> found.table
    """
    with called_dataframe(cohort), keeping(folder) as files:
        pipeline = _pipeline(config, store, cohort, files, keys)
        results = run_detection(detect_plan(pipeline)) if files.temporary else detect_pipeline(pipeline)
        # Whom pages are of is read from the run's own files, which a result does not carry along.
        draw = partial(_draw, _present_detection, replace(results, people=None), files.folder)
        if not files.temporary:
            present_index(files.folder)
        bundles = _detector_bundles(results.folder / "bundle")
        return DetectResult(
            metrics=results.metrics,
            table=results.detectors,
            predictions=results.scores,
            left_out=_left_out(results.turnout),
            config=results.config,
            notes=results.notes,
            warnings=results.warnings,
            _files=files,
            _draw=draw,
            bundle=next(iter(bundles.values()), None),
            bundles=bundles,
            slices=results.slices,
            verdict=results.verdict,
        )


def _draw(present: Callable[[Any, Path], None], results: Any, old: Path, run_folder: Path) -> None:
    """Draw a study's report where its files are now: in `run_folder`, which was `old` while it ran."""
    folder = run_folder / results.folder.relative_to(old)
    present(
        replace(results, folder=folder, config=moved(results.config, str(old), str(run_folder))), run_folder
    )


def _present_detection(results: DetectionResults, run_folder: Path) -> None:
    """What the door of detection adds to a finished study, and the index."""
    present_detection(results)
    present_index(run_folder)


def _pipeline(config: Config, store: Any, cohort: Any, files: KeptFiles, keys: dict[str, Any]) -> Pipeline:
    """A pipeline with the run folder, the store and the table that Python gave."""
    if isinstance(cohort, pd.DataFrame):
        keys = {**keys, "cohort": str(written_table(cohort, files.folder))}
    elif cohort is not None:
        keys = {**keys, "cohort": str(Path(cohort).expanduser().absolute())}
    return given_pipeline(config, "aggregate", folder=files.folder, store=store, keys=keys)


def _left_out(turnout: Turnout) -> pd.DataFrame:
    return pd.DataFrame(turnout.rows(), columns=[*KEYS, "reason"])


def _read_predictions(path: Path) -> pd.DataFrame:
    """`predictions.csv` with its numbers as they were written, and ids as text."""
    text = (*KEYS, "y", "configuration", "set")
    found = pd.read_csv(
        path,
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values={"threshold": [""]},
    )
    return _as_given(found)


def _as_given(table: pd.DataFrame) -> pd.DataFrame:
    """A table of ours with its text as it was before it was made safe for spreadsheets."""
    return table.map(lambda cell: plain_cell(cell) if isinstance(cell, str) else cell)


def _detector_bundles(folder: Path) -> dict[str, DetectorBundle]:
    """The bundle of a detection, or one per store."""
    found = sorted(card.parent for card in folder.rglob("bundle.json"))
    return {("main" if place == folder else place.name): load_detectors(place) for place in found}
