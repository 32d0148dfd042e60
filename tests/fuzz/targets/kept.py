"""Weights of a backbone, and what a run folder keeps so that a killed run goes on."""

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from fuzz.target import ARCHIVE, Files, Target, files_of

from aggregate.ablate.runs.journal import Journal
from aggregate.anomaly.fitting.checkpoint import Checkpoint, Identity, read_checkpoint, write_checkpoint
from aggregate.anomaly.scoring.finished import ScoreBook
from aggregate.anomaly.scoring.volumes import VolumeScores
from aggregate.common.run_folder import find_bundle, permit_bundle
from aggregate.report.pages.index import index_headline
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.pipeline_file import validate
from cache_schema.common.text.yaml_text import read_yaml
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import Entities
from cache_schema.store.reader import open_store
from extract.backbones.dinov2 import Dinov2Spec, write_example
from extract.planning.config import ExtractSection
from extract.planning.kept import PLAN, keep_plan, kept_plan
from extract.planning.plan import ExtractionPlan, PlannedVolume
from extract.planning.shard import Shard
from extract.simulate.tree import NOTE, finished_files
from extract.sources.candidate import Candidate

KEY = "a" * 64
IDENTITY = Identity(detector={"kind": "memory_bank", "size": 3}, seed=1, stream="s")


@lru_cache(maxsize=1)
def _checkpoints() -> list[Files]:
    made = []
    for gated in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            made.append(files_of(write_example(Path(folder) / "b", gated, registers=gated)))
    return made


def _backbone(folder: Path) -> object:
    spec = Dinov2Spec(path=folder)
    spec.outline(28)
    return spec.build(28, torch.device("cpu"), torch.float32, offline=True)


def _journals() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        Journal(Path(folder)).write(KEY, {"logits": np.ones((3, 2))}, {"runs": [1, 2], "name": "x"})
        return [files_of(Path(folder))]


def _journal(folder: Path) -> object:
    if Journal(folder).read(KEY) is None:
        raise SlicecacheError("trained again")
    return None


def _section() -> ExtractSection:
    return validate(ExtractSection, {"input": {"manifest": "volumes.tsv"}}, "extract")


def _plans() -> list[Files]:
    """A plan of one volume that can be embedded and of one that cannot."""
    entities = Entities(contrast="T1w")
    volumes = tuple(
        PlannedVolume(
            Candidate(
                VolumeKey(name, "", "T1w"), Path(f"{name}.nii"), f"{name}.nii", entities, spacing_mm=stated
            ),
            (4, 5, 6),
            (1.0, 1.0, 2.0),
            6,
            refusal,
        )
        for name, refusal, stated in (("a", None, None), ("b", "its file is empty", (1.0, 1.0, 2.0)))
    )
    with tempfile.TemporaryDirectory() as folder:
        keep_plan(Path(folder) / PLAN, ExtractionPlan(volumes), [_section()], Path("/x"), first=True)
        return [files_of(Path(folder))]


def _plan(folder: Path) -> object:
    place = folder / PLAN
    found = kept_plan(place, [_section()], Path("/x"))
    if found is None:
        raise SlicecacheError("planned anew")
    found.whole()
    return found.share(Shard(0, 2)).rows()


def _fits() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), Checkpoint(IDENTITY, 2, False, {"bank": torch.ones(3, 4)}))
        return [files_of(Path(folder))]


def _fit(folder: Path) -> object:
    if read_checkpoint(folder, IDENTITY) is None:
        raise SlicecacheError("fitted anew")
    return None


@lru_cache(maxsize=1)
def _entry():
    return open_store(ARCHIVE / "sealed.zarr").entries[0]


def _scored() -> list[Files]:
    with tempfile.TemporaryDirectory() as folder:
        book = ScoreBook.open(Path(folder) / "s", "identity")
        scores = VolumeScores(np.ones((2, 3, 3), np.float32), np.ones(2, np.float32), 0.5)
        book.write(_entry(), scores)
        return [files_of(Path(folder))]


def _scores(folder: Path) -> object:
    if ScoreBook.open(folder / "s", "identity").read(_entry()) is None:
        raise SlicecacheError("scored again")
    return None


def _runs() -> list[Files]:
    return [
        {name: (ARCHIVE / verb / name).read_bytes() for name in ("metrics.json", "config.yaml")}
        | {"bundle/bundle.json": (ARCHIVE / verb / "bundle" / "bundle.json").read_bytes()}
        for verb in ("train", "detect")
    ]


def _run_folder(folder: Path) -> object:
    """What the index and `predict` read of it before anything else."""
    metrics = folder / "metrics.json"
    verb = "detect" if metrics.is_file() and b"verdict" in metrics.read_bytes() else "train"
    sentence, _ = index_headline(verb, metrics)
    permit_bundle(find_bundle(folder))
    if sentence.endswith("cannot be read."):
        raise SlicecacheError(sentence)
    return read_yaml(folder / "config.yaml", "config.yaml")


def _notes() -> list[Files]:
    note = {
        "parameters": {"participants": 2, "seed": 0},
        "files": {"participants.tsv": {"bytes": 3, "sha256": "x"}},
    }
    return [{NOTE: json.dumps(note).encode(), "participants.tsv": b"a\n1"}]


def _note(folder: Path) -> object:
    return finished_files(folder, {"participants": 2, "seed": 0})


TARGETS = [
    Target(
        "backbone folder",
        _checkpoints,
        _backbone,
        ("extract.backbones.dinov2", "extract.backbones.shape", "extract.backbones.weights"),
    ),
    Target("kept plan", _plans, _plan, ("extract.planning.kept",)),
    Target("journal of an ablation", _journals, _journal, ("aggregate.ablate.runs.journal",)),
    Target("checkpoint of a fit", _fits, _fit, ("aggregate.anomaly.fitting.checkpoint",)),
    Target("finished scores", _scored, _scores, ("aggregate.anomaly.scoring.finished",)),
    Target("run folder", _runs, _run_folder, ("aggregate.report.pages.index", "aggregate.common.run_folder")),
    Target("note of a simulation", _notes, _note, ("extract.simulate.tree",)),
]
