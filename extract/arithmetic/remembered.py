"""What `auto` found here the last time, so that the next extraction need not try again.

A trial is one of a network, its weights, a canvas, library versions, a kind of processor and a number of
threads: where all are equal it is not made again, for a month. It lies in the user's own cache folder, beside
compiled graphs, and is read from nowhere else; what is damaged there is not heeded.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from pydantic import Field, ValidationError

from cache_schema.cluster.alike import library_version
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.stored_json import StoredJsonError, read_json
from cache_schema.common.strict import Strict
from cache_schema.format.canonical import canonical_json, sha256_json
from cache_schema.format.header import BackboneIdentity
from extract.arithmetic.arithmetic import Arithmetic, ComputeName, EngineName
from extract.arithmetic.measure import Choice, Trial, preferred
from extract.arithmetic.processor import processor_kind
from extract.backbones.compiled.kept import cache_folder, write_kept
from extract.backbones.compiled.runtime import PACKAGE
from extract.slices.sides import Canvas, sides

RECIPE = 1
"""Raised by whoever changes what is tried, or what is exact enough."""
DAYS = 30
"""After which a trial is made anew: a machine changes in ways that nothing here says."""
MOST = 64
"""Trials that are kept: the last ones."""
LARGEST_BYTES = 65536
MADE_WITH = (PACKAGE, "torch", "transformers")
LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
"""What an environment says of arithmetic and of where it runs."""


class _Row(Strict):
    """One arithmetic of the table."""

    engine: EngineName
    compute: ComputeName
    slices_per_s: float = Field(ge=0)
    cosine: float
    error: float
    why_not: str = Field(max_length=1000)


class _Kept(Strict):
    """A file of the cache."""

    measured: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    reference_rate: float = Field(gt=0)
    trials: tuple[_Row, ...] = Field(max_length=16)


def key_of(
    options: Sequence[Arithmetic],
    identity: BackboneIdentity,
    device: torch.device,
    canvas: Canvas,
    rows: int,
    tokens: Sequence[str],
) -> str:
    """What a trial depends on, as one digest.

    Args:
        options: That are tried.
        identity: Of the backbone, its weights' digest included.
        device: That embeds.
        canvas: Pixels along a side, or rows and columns.
        rows: Slices of a pass.
        tokens: That are wanted.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return sha256_json(
        {
            "recipe": RECIPE,
            "options": [str(each) for each in options],
            "backbone": identity.model_dump(mode="json"),
            "tokens": sorted(tokens),
            "shape": [rows, *sides(canvas)],
            "device": name,
            "processor": processor_kind(),
            "threads": torch.get_num_threads(),
            "environment": {each: os.environ.get(each, "") for each in LIMITS},
            "libraries": {each: library_version(each) for each in MADE_WITH},
        }
    )


def recall(key: str, options: Sequence[Arithmetic], slices: int, little: float) -> Choice | None:
    """What a trial of this key gave; None where there was none, or it is too old or damaged.

    Args:
        key: Of `key_of`.
        options: In the order of preference.
        slices: That are to be embedded.
        little: Seconds of work by the reference below which the first option is taken, as in `choose`.
    """
    path = _path(key)
    if path is None:
        return None
    try:
        if time.time() - path.stat().st_mtime > DAYS * 86400:
            return None
        with path.open("rb") as file:
            kept = _Kept.model_validate(read_json(file.read(LARGEST_BYTES + 1), LARGEST_BYTES))
    except (OSError, StoredJsonError, ValidationError):
        return None
    trials = tuple(
        Trial(Arithmetic(row.engine, row.compute), row.slices_per_s, row.cosine, row.error, row.why_not)
        for row in kept.trials
    )
    taken = preferred(trials)
    if taken is None or tuple(trial.arithmetic for trial in trials) != tuple(options):
        return None
    if slices / kept.reference_rate < little:
        return Choice(options[0], ())
    return Choice(taken, trials, measured=kept.measured)


def remember(key: str, choice: Choice) -> None:
    """Keep a trial; where that cannot be done, the next extraction tries again, and no more than that."""
    path = _path(key)
    if path is None or preferred(choice.trials) is None:
        return
    # A trial that came to no number, such as a cosine of NaN, is not kept.
    with contextlib.suppress(OSError, SlicecacheError, ValidationError):
        day = datetime.now(UTC).date().isoformat()
        rows = tuple(_row(trial) for trial in choice.trials)
        kept = _Kept(measured=day, reference_rate=choice.reference_rate, trials=rows)
        write_kept(path, canonical_json(kept.model_dump(mode="json")), MOST)


def _row(trial: Trial) -> _Row:
    return _Row(
        engine=trial.arithmetic.engine,
        compute=trial.arithmetic.compute,
        slices_per_s=trial.slices_per_s,
        cosine=trial.cosine,
        error=trial.error,
        why_not=trial.why_not[:1000],
    )


def _path(key: str) -> Path | None:
    folder = cache_folder("trials")
    return None if folder is None else folder / f"{key}.json"
