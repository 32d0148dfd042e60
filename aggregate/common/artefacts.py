"""Files of a run folder besides bundle and report: tables and JSON, each written whole or not at all."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from aggregate.cohort.cohort import Cohort
from aggregate.statistics.evaluate import OutOfFold

FIXED = (
    "volume_id",
    "participant_id",
    "session_id",
    "set",
    "configuration",
    "repeat",
    "fold",
    "seed",
    "y",
)


def prediction_rows(cohort: Cohort, outputs: Sequence[OutOfFold], name: str) -> pd.DataFrame:
    """One row per test bag of every run.

    Args:
        cohort: Gives keys and labels.
        outputs: Of any configurations.
        name: The `set` column: `out_of_fold`, or `test` for a given split.

    Returns:
        volume_id, participant_id, session_id, set, configuration, repeat, fold, seed, y (label name),
        logit_*, p_* (tempered softmax) and threshold.
    """
    return pd.concat([_rows(cohort, output, name) for output in outputs], ignore_index=True)


def _rows(cohort: Cohort, output: OutOfFold, name: str) -> pd.DataFrame:
    bags = cohort.frame.iloc[output.fold.test]
    tempered = output.logits / output.calibration.temperature
    powers = np.exp(tempered - tempered.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    columns: dict[str, Any] = {key: bags[key].to_numpy() for key in FIXED[:3]}
    columns |= {"set": name, "configuration": output.configuration, "repeat": output.fold.repeat}
    columns |= {"fold": output.fold.fold, "seed": output.seed}
    columns["y"] = [cohort.classes[index] for index in bags["y"]]
    columns |= {f"logit_{label}": output.logits[:, c] for c, label in enumerate(cohort.classes)}
    columns |= {f"p_{label}": p[:, c] for c, label in enumerate(cohort.classes)}
    return pd.DataFrame({**columns, "threshold": output.calibration.threshold})


def write_text(path: Path, text: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write YAML in the order of the keys."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


@contextmanager
def log_to(folder: Path) -> Iterator[logging.Logger]:
    """Let the `slicecache` logger write to `log.txt` in a run folder, and notice warnings."""
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("slicecache")
    handler = logging.FileHandler(folder / "log.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
