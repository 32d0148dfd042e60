"""`sc.explain`: which slices the heads of a finished training decide by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aggregate.api.results import TrainResult
from aggregate.explain.methods.registry import read_methods
from aggregate.explain.results import explain_run
from aggregate.explain.run import open_run
from aggregate.explain.tables import attention_table, method_table
from aggregate.explain.terminal import explanation_summary
from aggregate.present import present_explanation
from cache_schema.common.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ExplainResult:
    """What `explain` found; its folder holds the same as files.

    Example:
        >>> found = sc.explain("runs/adni")
        >>> found.metrics["interpretable"]
    """

    metrics: dict[str, Any]
    """As in `metrics.json`."""
    slices: pd.DataFrame
    """As in `attention.csv`: a row per slice, question and member."""
    table: pd.DataFrame
    """As in `methods.csv`: a row per method and control."""
    folder: Path
    """`explain/` in the run folder."""

    def __str__(self) -> str:
        return explanation_summary(self.metrics)

    def __repr__(self) -> str:
        return f"<ExplainResult\n{self}\n>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def explain(
    run: str | Path | TrainResult,
    methods: Sequence[str | Mapping[str, Any]] = (),
    *,
    seed: int = 0,
    maps: bool = True,
    allow_custom: bool = False,
    moved: Mapping[str, str | Path] | None = None,
) -> ExplainResult:
    """Say which slices trained heads decide by, out of fold, beside controls; writes `RUN/explain/`.

    Args:
        run: A run folder that `train` has ended in, or what `sc.train(..., folder=...)` returned.
        methods: Names, or mappings with options; the first is the one that maps are of. By default all.
        seed: Of random heads, and of who gets whose map.
        maps: Write NIfTI maps.
        allow_custom: Import the custom part that the bundle names.
        moved: Where store or table lie now: `{"cache.store": "elsewhere.zarr"}`.

    Raises:
        SlicecacheError: If there is no bundle of a head, or store or table cannot be used.

    Example:
        >>> found = sc.explain("runs/adni", ["leave_out", {"kind": "leave_out", "window_mm": 20}])
        >>> print(found)
    """
    asked = read_methods(methods)
    study = open_run(
        _folder_of(run), [f"{name}={place}" for name, place in (moved or {}).items()], allow_custom
    )
    results = explain_run(study, asked, seed, maps)
    present_explanation(results)
    slices = attention_table(results.found, study.cohort)
    return ExplainResult(results.metrics, slices, method_table(results.found), results.folder)


def _folder_of(run: str | Path | TrainResult) -> Path:
    """The run folder.

    Raises:
        ConfigError: If it is a result that lies nowhere, or no run.
    """
    if isinstance(run, str | Path):
        return Path(run).expanduser()
    if not isinstance(run, TrainResult):
        raise ConfigError(f"explain takes a run folder or what sc.train returned, not {type(run).__name__}")
    if run.folder is None:
        raise ConfigError(
            "this training lies in no folder, and an explanation is written beside it: give sc.train a "
            'folder=, or explain what was saved, sc.explain(found.save("runs/first"))'
        )
    return run.folder
