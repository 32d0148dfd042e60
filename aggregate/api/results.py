"""What `sc.train`, `sc.evaluate`, `sc.ablate` and `sc.detect` return."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggregate.api.kept_files import KeptFiles

if TYPE_CHECKING:
    import pandas as pd

    from aggregate.anomaly.study.bundle import DetectorBundle
    from aggregate.predict.bundle import Bundle

SHOWN_COLUMNS = 6
"""Of a table that is printed; `table` has all."""

RENAMED = {
    "mae_low": "mae_lowest_third",
    "mae_middle": "mae_middle_third",
    "mae_high": "mae_highest_third",
}
"""What measures of `metrics.json` are called in a `table`, where `mae_low` begins the interval of `mae`."""


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult:
    """What every study has."""

    metrics: dict[str, Any]
    """As in `metrics.json`."""
    table: "pd.DataFrame"
    """What is compared, one row each."""
    predictions: "pd.DataFrame"
    """One row per volume and whatever scored it."""
    config: dict[str, Any]
    """The pipeline with defaults filled in; it runs again as it is."""
    notes: list[str]
    """How it was done, in plain sentences."""
    warnings: list[str]
    """What makes the results doubtful."""
    _files: KeptFiles
    """The files behind it."""
    _draw: Callable[[Path], None]
    """Writes the report into a run folder that holds these files."""

    @property
    def folder(self) -> Path | None:
        """The run folder, or None if nothing was to be written."""
        return None if self._files.temporary else self._files.folder

    def save(self, folder: str | Path) -> Path:
        """Write the files that the command would have written to a new run folder.

        Raises:
            ConfigError: If something is there already.
        """
        place = Path(folder).expanduser().absolute()
        self._files.copy_to(place)
        self._draw(place)
        return place

    def __repr__(self) -> str:
        told = [f"WARNING: {sentence}" for sentence in self.warnings]
        return "\n".join([f"<{type(self).__name__}", *told, shown_table(self.table).to_string(), ">"])

    def _repr_html_(self) -> str:
        from html import escape

        told = "".join(f"<p><b>{escape(sentence)}</b></p>" for sentence in self.warnings)
        return f"{told}{shown_table(self.table).to_html()}"


@dataclass(frozen=True, eq=False, repr=False)
class TrainResult(StudyResult):
    """A trained head beside its baselines.

    `table` has a row per configuration and baseline, a column per metric with its interval; `predictions`
    are out-of-fold, as in `predictions.csv`.

    Example:
        >>> found = sc.train(store="cache.zarr", cohort="participants.tsv", target="diagnosis")
        >>> found.metrics["metrics"]["auroc"]
        >>> sc.predict(found.bundle, "another.zarr")
        >>> found.save("runs/first")
    """

    bundle: "Bundle"
    """Every fold's head; `sc.predict` applies it."""
    left_out: "pd.DataFrame"
    """Who of table and store took no part, with the reason."""
    attention: "pd.DataFrame"
    """Out-of-fold attention over height: height_mm, attention (times the slices of a bag: 1 is even), label,
    participant_id."""


@dataclass(frozen=True, eq=False, repr=False)
class EvaluateResult(StudyResult):
    """A bundle on a cohort that had no part in its making.

    `table` has a row per configuration, a column per metric with its interval.

    Example:
        >>> found = sc.evaluate("runs/adni", "other.zarr", "other.csv")
        >>> found.metrics["metrics"]["calibration_slope"]
        >>> found.curves["decision_curve"]
    """

    left_out: "pd.DataFrame"
    """Who of table and store took no part, with the reason."""
    curves: "dict[str, pd.DataFrame]"
    """What is behind the figures: `roc`, `calibration`, `decision_curve`."""


@dataclass(frozen=True, eq=False, repr=False)
class AblateResult(StudyResult):
    """Many configurations on the same folds, without a bundle.

    `table` is `ablation.csv`: a row per configuration and baseline with its interval and its comparison.

    Example:
        >>> found = sc.ablate("pipeline.yaml")
        >>> found.table.sort_values("auroc")
    """

    left_out: "pd.DataFrame"
    """Who of table and store took no part, with the reason."""


@dataclass(frozen=True, eq=False, repr=False)
class DetectResult(StudyResult):
    """Fitted detectors and the scores of everybody else.

    `table` is `detectors.csv`, with the baselines position and intensity; `predictions` is `scores.csv`, a
    row per volume and detector.

    Example:
        >>> found = sc.detect("lesions.yaml")
        >>> found.predictions.sort_values("score", ascending=False).head()
        >>> sc.predict(found.bundle, "new.zarr", maps="maps")
    """

    bundle: "DetectorBundle | None"
    """The first store's fitted detectors; `sc.predict` applies it. None where only baselines were fitted."""
    bundles: "dict[str, DetectorBundle]"
    """By store, where there are several."""
    slices: "pd.DataFrame | None"
    """Scores of slices, where `slice_scores` asked for them."""
    left_out: "pd.DataFrame"
    """Who of table and store took no part, with the reason."""
    verdict: list[str]
    """What may be said of it."""


def shown_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table as it is shown: the first columns, each with its interval in one cell."""
    import pandas as pd

    columns = [str(name) for name in table.columns]
    within = {end for name in columns for end in _ends(columns, name)}
    names = [name for name in columns if name not in within][:SHOWN_COLUMNS]
    return pd.DataFrame({name: _cells(table, name) for name in names}, index=table.index)


def _ends(columns: list[str], name: str) -> list[str]:
    """The columns that hold a measure's interval; they need not be there.

    Files call them `NAME_ci_low`, and plainly `ci_low` those of the measure that stands before them;
    `train_table` says `NAME_low`. They are not guessed: `mae_low` of a file is a measure itself.
    """
    if "ci_low" not in columns:
        return [f"{name}_low", f"{name}_high"]
    primary = columns[max(columns.index("ci_low") - 1, 0)]
    return ["ci_low", "ci_high"] if name == primary else [f"{name}_ci_low", f"{name}_ci_high"]


def _cells(table: "pd.DataFrame", name: str) -> list[str]:
    """One column as text: `0.812 [0.701, 0.923]`, a dash for what is not defined."""
    ends = _ends([str(column) for column in table.columns], name)
    there = set(ends) <= set(table.columns)
    spans: Sequence[Sequence[float]] = table[ends].to_numpy().tolist() if there else [()] * len(table)
    return [_cell(value, span) for value, span in zip(table[name], spans, strict=True)]


def _cell(value: Any, span: Sequence[float]) -> str:
    if not isinstance(value, float):
        return str(value)
    told = " ".join(f"[{low:.3f}, {high:.3f}]" for low, high in [span] if low == low) if len(span) else ""
    return "-" if value != value else f"{value:.3f} {told}".strip()


def train_table(metrics: dict[str, Any]) -> "pd.DataFrame":
    """`metrics.json` as a table: a row per configuration and baseline, three columns per metric.

    `auroc`, `auroc_low` and `auroc_high` are a value and its interval; measures of `metrics.json` whose own
    names would be taken for those have the names in `RENAMED`.
    """
    import pandas as pd

    rows = {metrics["configuration"]: metrics["metrics"], **metrics["baselines"]}
    ends = {"value": "", "ci_low": "_low", "ci_high": "_high"}
    return pd.DataFrame.from_dict(
        {
            name: {
                f"{RENAMED.get(metric, metric)}{end}": found[key]
                for metric, found in row.items()
                for key, end in ends.items()
            }
            for name, row in rows.items()
        },
        orient="index",
    )
