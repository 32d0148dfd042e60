"""`sc.evaluate`: a bundle, from a folder or from a result, on a cohort that had no part in its making."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggregate.api.given_table import called_dataframe, written_table
from aggregate.api.kept_files import keeping, moved
from aggregate.api.predicting import Bundled, loaded_bundle, made_for
from aggregate.api.results import EvaluateResult, train_table
from aggregate.common.run_folder import verb_folder
from aggregate.evaluate.external import require_labels
from aggregate.evaluate.results import EvaluationResults, evaluate_to
from aggregate.evaluate.spec import ExternalSpec
from aggregate.predict.bundle import Bundle
from aggregate.present import present_evaluation
from cache_schema.common.errors import ConfigError
from cache_schema.common.given_config import location_of
from cache_schema.common.pipeline_file import Pipeline, validate
from cache_schema.store.wanted import StoreMaker

if TYPE_CHECKING:
    from aggregate.api.store import Store


def evaluate(
    bundle: Bundled,
    store: "str | Path | Store | StoreMaker",
    cohort: "str | Path | pd.DataFrame",
    *,
    folder: str | Path | None = None,
    allow_custom: bool = False,
    **keys: Any,
) -> EvaluateResult:
    """Measure a trained bundle on an external cohort; weights, temperature and threshold stay as they are.

    Args:
        bundle: Its folder, the run folder, or what `sc.train` returned.
        store: Of the same embeddings of other people; or `sc.Images(...)`, which makes one.
        cohort: The table of their labels, as a path or a DataFrame.
        folder: A run folder to write `evaluate/` into; without it nothing is written.
        allow_custom: Import the custom parts that a bundle in a folder names.
        keys: What a pipeline says below `external`: `where="age >= 55"`, `target={"column": "DX", ...}`.

    Raises:
        StoreMismatch: If the store holds other embeddings than the bundle reads.
        SlicecacheError: If bundle, store or table cannot be used as asked, or somebody was in training.

    Example:
        >>> found = sc.evaluate("runs/adni", "other.zarr", "other.csv", target="DX")
        >>> found.table
        >>> found = sc.evaluate("runs/adni", sc.Images("other", "other.zarr"), "other.csv")
    """
    loaded = loaded_bundle(bundle, allow_custom)
    if not isinstance(loaded, Bundle):
        raise ConfigError("evaluate is for a bundle of heads; detectors are measured by detect, with truth")
    with called_dataframe(cohort), keeping(folder) as files:
        place = verb_folder(files.folder, "evaluate")
        if isinstance(cohort, pd.DataFrame):
            cohort = written_table(cohort, place)
        where = store.store if isinstance(store, StoreMaker) else location_of(store)
        data = {"store": where, "cohort": str(cohort), **keys}
        spec = validate(ExternalSpec, data, "external").placed(Pipeline({}, Path.cwd()))
        reader = None
        if isinstance(store, StoreMaker):
            require_labels(loaded.card, spec)
            reader = made_for(loaded, store)
        called = str(bundle) if isinstance(bundle, str | Path) else "given in Python"
        results = evaluate_to(place, loaded, called, spec, getattr(store, "prove", "crc32c"), reader)
        draw = partial(_draw, results, files.folder)
        if not files.temporary:
            draw(files.folder)
        found = results.evaluation
        columns = ["participant_id", "session_id", "volume_id", "reason"]
        return EvaluateResult(
            metrics=found.metrics,
            table=train_table(found.metrics),
            predictions=found.predictions,
            left_out=pd.DataFrame(found.cohort.turnout.rows(), columns=columns),
            config=results.config,
            notes=list(found.notes),
            warnings=list(found.warnings),
            _files=files,
            _draw=draw,
            curves=found.curves.tables(),
        )


def _draw(results: EvaluationResults, old: Path, run_folder: Path) -> None:
    """Draw the report where the files are now: in `run_folder`, which was `old` while it ran."""
    config = moved(results.config, str(old), str(run_folder))
    present_evaluation(
        replace(results, folder=verb_folder(run_folder, "evaluate"), config=config), run_folder
    )
