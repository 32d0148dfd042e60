"""A finished ablation as MLflow keeps runs: in files of a folder, with no server and no telemetry.

MLflow calls files its legacy store, which newer releases open when they are told to; unlike its database it
has no schema that ages, and can be renamed into place. `mlflow migrate-filestore` makes a database of it.
"""

import csv
import io
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aggregate.common.run_folder import CONFIG, FIGURES, METHODS, METRICS_FILE, REFERENCES, REPORT, TABLES
from aggregate.common.table_values import read_number
from aggregate.interop.lazy_arrays import optional
from aggregate.paper.finished import Finished, read_bytes, read_finished
from cache_schema.common.errors import ConfigError
from cache_schema.common.text.cells import plain_cell

TABLE = "ablation.csv"
OFFLINE = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
HOW_TO_LOOK = "look at it: MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri FOLDER"
LOGGED = (TABLE, "ablation.md", "ablation.tex", METRICS_FILE, CONFIG, REPORT, METHODS, REFERENCES)
"""Files that go along; predictions do not: they name participants."""
LONGEST_VALUE = 500
UNSAFE = re.compile(r"[^\w\-. /]")


def ablation_folder(place: Path) -> Path:
    """The folder of a finished ablation.

    Raises:
        ConfigError: If there is none.
    """
    for folder in (place / "ablate", place):
        if (folder / METRICS_FILE).is_file() and (folder / TABLE).is_file():
            return folder
    raise ConfigError(f"{str(place)!r} holds no finished ablation: there is no {METRICS_FILE} with {TABLE}")


def log_ablation(folder: Path, out: Path, final: Path) -> int:
    """Write a run for each configuration and baseline, and one that has the files.

    Args:
        folder: Of the finished ablation.
        out: A new folder.
        final: Where it will lie, which MLflow writes down for files.

    Returns:
        Configurations and baselines.

    Raises:
        ConfigError: If mlflow is not installed, or the ablation cannot be read.
    """
    finished = read_finished(folder, "ablate")
    rows = _rows(folder / TABLE)
    with _offline():
        client = optional("mlflow.tracking", "--format mlflow", "'slicecache[mlflow]'").MlflowClient(
            tracking_uri=str(out), registry_uri=str(out)
        )
        name = f"slicecache ablation of {finished.metrics.get('target', 'a target')}"
        experiment = client.create_experiment(
            _key(name), artifact_location=f"{final.as_uri()}/files", tags={"slicecache": "ablation"}
        )
        study = client.create_run(experiment, run_name="study", tags=_facts(finished))
        files = out / "files" / study.info.run_id / "artifacts"
        for path in _artefacts(folder):
            target = files / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        client.set_terminated(study.info.run_id)
        shutil.rmtree(out / "0")  # the experiment for whatever has none, which points to where we write now
        for row in rows:
            _log_row(client, experiment, study.info.run_id, row)
    return len(rows)


def _log_row(client: Any, experiment: str, study: str, row: dict[str, str]) -> None:
    """A configuration: what was varied are its params, numbers its metrics, words its tags."""
    name = row["configuration"]
    run = client.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": study}).info.run_id
    client.log_param(run, "configuration", name[:LONGEST_VALUE])
    varied = list(row)[1 : list(row).index("runs")]
    for column, cell in row.items():
        number = None if column in varied else read_number(cell)
        if column == "configuration" or not cell:
            continue
        if column in varied:
            client.log_param(run, _key(column), cell[:LONGEST_VALUE])
        elif number is None or not math.isfinite(number):
            client.set_tag(run, _key(column), cell[:LONGEST_VALUE])
        else:
            client.log_metric(run, _key(column), number)
    client.set_terminated(run)


def _facts(finished: Finished) -> dict[str, str]:
    """What is true of the whole study, as tags."""
    names = ("task", "target", "n_participants", "n_folds", "n_repeats", "fingerprint", "ci_method")
    said = {name: str(finished.metrics[name])[:LONGEST_VALUE] for name in names if name in finished.metrics}
    return said | {
        f"version {name}": str(value) for name, value in finished.metrics.get("versions", {}).items()
    }


def _rows(path: Path) -> list[dict[str, str]]:
    """`ablation.csv`, cells as text.

    Raises:
        ConfigError: If it is no such table.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_bytes(path).decode(), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error}") from None
    if (
        not rows
        or not {"configuration", "runs"} <= rows[0].keys()
        or any(None in row.values() for row in rows)
    ):
        raise ConfigError(f"{str(path)!r} is no table of configurations, as an ablation leaves it")
    return [{name: plain_cell(cell) for name, cell in row.items() if name} for row in rows]


def _artefacts(folder: Path) -> Iterator[Path]:
    """Files for people, and none behind a link."""
    found = [folder / name for name in LOGGED]
    for name in (FIGURES, TABLES):
        found += sorted((folder / name).glob("*"))
    for path in found:
        if path.is_symlink() or path.parent.is_symlink():
            raise ConfigError(f"{str(path)!r} is a link: a run folder holds files of its own")
        if path.is_file():
            yield path


def _key(text: str) -> str:
    """A name as MLflow takes it, which is a file's: no way up, no absolute path."""
    parts = [UNSAFE.sub("_", part).strip() for part in text.split("/")]
    return "/".join(part for part in parts if part.strip("."))[:200] or "unnamed"


@contextmanager
def _offline() -> Iterator[None]:
    """Tell MLflow, for as long as it is at work, that files will do and nobody is told."""
    before = {name: os.environ.get(name) for name in OFFLINE}
    os.environ.update(OFFLINE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
