"""Digests of what a run's numbers depend on: a changed file, label, store or library changes the key."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aggregate.ablate.grid.sources import Source
from aggregate.cohort.people import Fold
from aggregate.harmonise.spec import HarmoniseSpec
from aggregate.training.stacked import RunSpec
from cache_schema.common.custom import code_digest, targets_in
from cache_schema.format.canonical import canonical_json, sha256_json

ARITHMETIC = 6
"""Raised when heads, losses, training, scoring or calibration give other numbers than before."""


class Keys:
    """Digests of runs over one source."""

    def __init__(self, source: Source) -> None:
        """Take in what all runs of the source have in common."""
        header, cohort = source.store.header, source.cohort
        self.common: dict[str, Any] = {
            "arithmetic": ARITHMETIC,
            "torch": str(torch.__version__),
            "fingerprint": header.fingerprint.digest,
            "numerics": header.numerics.digest,
            "content": source.store.content_digest(),
            "tokens": source.place[1],
            "classes": list(cohort.classes),
        }
        if source.beside:
            self.common["beside"] = {
                name: [store.header.fingerprint.digest, store.header.numerics.digest, store.content_digest()]
                for name, store in source.beside.items()
            }
        self.table = cohort.table
        frame = cohort.frame
        columns = [frame[name] for name in ("participant_id", "session_id", "volume_id")]
        self.bags = [
            canonical_json([*key, int(y), float(weight)])
            for *key, y, weight in zip(*columns, cohort.y, cohort.weight, strict=True)
        ]
        self._rows: dict[bytes, str] = {}
        self._files: dict[str, str] = {}

    def rows(self, rows: NDArray[np.int64]) -> str:
        """Who is on a side of a fold, with labels and weights, in order."""
        name = rows.tobytes()
        if name not in self._rows:
            self._rows[name] = hashlib.sha256(b"\n".join(self.bags[row] for row in rows)).hexdigest()
        return self._rows[name]

    def run(self, run: RunSpec, fold: Fold, harmonise: HarmoniseSpec | None = None) -> str:
        """One training and its test part. The configuration's name has no part in it."""
        parts = {"head": run.head.model_dump(mode="json"), "loss": run.loss.model_dump(mode="json")}
        return sha256_json(
            {
                **self.common,
                **parts,
                **self._code(parts),
                **({} if harmonise is None else self._harmonised(harmonise)),
                "train": run.train.model_dump(mode="json"),
                "stream": [run.repeat, run.fold, run.seed],
                "within": run.within,
                "sides": [self.rows(run.train_rows), self.rows(run.validation_rows), self.rows(fold.test)],
            }
        )

    def _harmonised(self, spec: HarmoniseSpec) -> dict[str, Any]:
        """What is done to the tokens; any column may name the site or be preserved."""
        table = hashlib.sha256(self.table.to_csv(index=False).encode()).hexdigest()
        return {"harmonise": spec.model_dump(mode="json"), "table": table}

    def _code(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Digests of the files that custom parts are defined in; nothing without such parts."""
        for target in targets_in(parts):
            if target not in self._files:
                self._files[target] = code_digest(target)
        found = {target: self._files[target] for target in targets_in(parts)}
        return {"code": found} if found else {}

    def portion(self, runs: Sequence[str]) -> str:
        """Runs that train together, in order: in float32 who trains together changes the last digits."""
        return sha256_json(["portion", *runs])

    def baseline(self, name: str, folds: Sequence[Fold]) -> str:
        """A baseline that depends on tokens and labels alone."""
        sides = [[self.rows(f.inside), self.rows(f.test)] for f in folds]
        return sha256_json({**self.common, "baseline": name, "sides": sides})
