"""One door for every format: a store or a run, to one file or folder that appears whole or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from aggregate.interop.anndata_file import write_h5ad
from aggregate.interop.formats import ENDINGS, Format, Rows
from aggregate.interop.hugging_face import write_dataset
from aggregate.interop.netcdf_file import write_netcdf
from aggregate.interop.source import Source, open_source
from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.progress import Progress
from cache_schema.common.text.counts import counted
from cache_schema.files.disk.room import require_writable
from cache_schema.files.disk.whole import appears_whole, require_free
from cache_schema.files.remote.urls import require_folder_place


@dataclass(frozen=True, slots=True)
class HandedOn:
    """What an export to another program's format made.

    Example:
        >>> made = sc.export("cache.zarr", "cache.h5ad")
        >>> made.location, made.notes
    """

    location: Path
    format: str
    n_volumes: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The whole as JSON data."""
        return {
            "location": str(self.location),
            "format": self.format,
            "n_volumes": self.n_volumes,
            "notes": list(self.notes),
        }

    def in_words(self) -> str:
        """The whole for people."""
        volumes = f"{counted(self.n_volumes, 'volume')} for " if self.n_volumes else ""
        return "\n".join([f"{self.location}: {volumes}{self.format}", *self.notes])


def export(
    where: str | Path,
    out: str | Path,
    format: Format | None = None,
    *,
    tokens: Sequence[str] = (),
    rows: Rows = "volume",
    cohort: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> HandedOn:
    """Write a store, or what a finished run was made of, in another program's format.

    Args:
        where: A store (folder, zip, .h5, URL), or a run folder.
        out: A new file that ends in .h5ad (AnnData) or .nc (NetCDF, for xarray), or a new folder.
        format: By default what `out` ends in.
        tokens: Names of arrays; by default all that hold tokens, for AnnData those of one vector per slice.
        rows: Of AnnData: a row is a `volume` (the mean of its slices) or a `slice`.
        cohort: A table whose columns go beside the volumes; of a run its own by default.
        overrides: `cache.store=PATH`, where the store of a run has moved.
        progress: Called with the volumes written and their number.

    Raises:
        SlicecacheError: If something is at `out` already, an array is not there or does not fit the format,
            or a package is not installed.

    Example:
        >>> sc.export("cache.zarr", "cache.h5ad", rows="slice", cohort="participants.tsv")
        >>> sc.export("runs/demo", "runs/demo-dataset", "huggingface")
        >>> sc.export("runs/demo", "derivatives/slicecache", "bids")
        >>> sc.export("runs/demo", "mlruns", "mlflow")
    """
    require_folder_place(str(out), "export")
    target = Path(out).expanduser().absolute()
    kind = _format(target, format)
    require_free(target)
    require_writable(target.parent, "the folder of the export")
    if rows != "volume" and kind != "anndata":
        raise ConfigError(f"rows: {rows!r} is for AnnData; {kind} has a row per volume with all its slices")
    if kind == "mlflow":
        return _logged(where, target, [*tokens, *overrides, *([str(cohort)] if cohort else [])])
    source = open_source(where, cohort, overrides)
    writers: dict[str, Callable[[Path], list[str] | None]] = {
        "anndata": lambda path: write_h5ad(source, path, tokens, rows, progress),
        "xarray": lambda path: write_netcdf(source, path, tokens, progress),
        "huggingface": lambda path: write_dataset(source, path, tokens, progress),
        "bids": lambda path: _write_bids(source, path, tokens, progress),
    }
    with appears_whole(target) as path:
        left = writers[kind](path) or []
    return HandedOn(target, kind, len(source.store.entries), (*notes_of(source), *left))


def _write_bids(source: Source, folder: Path, tokens: Sequence[str], progress: Progress | None) -> list[str]:
    from aggregate.interop.bids import write_bids  # reads run folders, for which much is imported

    return write_bids(source, folder, tokens, progress)


def _logged(where: str | Path, target: Path, meant_for_stores: Sequence[str]) -> HandedOn:
    """A finished ablation as MLflow keeps it.

    Raises:
        ConfigError: If there is none, or something is said that is of stores.
    """
    from aggregate.interop.mlflow_runs import HOW_TO_LOOK, ablation_folder, log_ablation

    if meant_for_stores:
        raise ConfigError(f"mlflow logs a finished ablation, in which {meant_for_stores[0]!r} has no part")
    folder = ablation_folder(Path(where))
    with appears_whole(target) as path:
        logged = log_ablation(folder, path, target)
    return HandedOn(
        target, "mlflow", 0, (f"{logged} configurations and baselines as MLflow runs", HOW_TO_LOOK)
    )


def notes_of(source: Source) -> tuple[str, ...]:
    """What whoever exports should know: rows that were not found, volumes that stay behind."""
    behind = len(source.store.table()) - len(source.store.entries)
    planned = [f"{behind} planned volumes are not committed and stay behind"] if behind else []
    return (*planned, *source.notes)


def _format(out: Path, asked: Format | None) -> Format:
    """What is written, by what was asked for and what the name ends in.

    Raises:
        ConfigError: If neither says it, or they differ.
    """
    ended = ENDINGS.get(out.suffix)
    if out.suffix in (".h5", ".hdf5"):
        raise ConfigError(
            f"{str(out)!r}: an .h5 that opens like the store is what `slicecache cache export` makes"
        )
    if asked is None and ended is None:
        raise ConfigError(
            f"{str(out)!r} does not say what it is to be: end it in {' or '.join(ENDINGS)}, or give --format "
            f"{', '.join(get_args(Format))}"
        )
    own = next((ending for ending, kind in ENDINGS.items() if kind == asked), None)
    if asked is not None and asked != ended and (own or ended):
        wanted = f"a file that ends in {own}" if own else "a folder, whose name ends otherwise"
        raise ConfigError(f"{str(out)!r}: {asked} is written to {wanted}")
    return asked or ended or "anndata"
