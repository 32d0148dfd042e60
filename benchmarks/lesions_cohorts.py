"""The cohorts of `lesions.py`: how each is made, what it is for, and its store.

*Choosing* may be looked at as often as one likes: plain dark blobs, even seeds. *Held back* are scored once,
by what was chosen before.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from lesions_pasted import paste_cohort

from aggregate.anomaly.study.detect import run_detection
from aggregate.common.artefacts import write_json
from aggregate.detect import detect_plan
from cache_schema.common.pipeline_file import load_pipeline
from extract.simulate.lesion import Change
from extract.simulate.tree import simulate_tree

LAYERS = ("patches_l01", "patches_l02")
"""Inner blocks of the tiny network, which has three."""


@dataclass(frozen=True, slots=True)
class LesionCohort:
    """One cohort and its store."""

    participants: int = 0
    """Of a simulated cohort, half of them with lesions."""
    seed: int = 0
    strokes: bool = False
    """Simulated lesions have the shape of stroke masks, not of blobs."""
    brains: str = ""
    """Real brains that lesions are pasted into, below the images' folder."""
    both: bool = False
    """Every pasted brain as it is and with a lesion; else every other brain has one."""
    change: Change = "dark"
    slices: Mapping[str, Any] = field(default_factory=lambda: {"kind": "uniform", "n": 24})
    layers: bool = False
    """Whether the store has the inner blocks too."""

    @property
    def reference(self) -> dict[str, str]:
        """Who the normals are."""
        if self.brains:
            return {"column": "state", "value": "plain"}
        return {"column": "diagnosis", "value": "control"}


ALL = {"kind": "foreground"}
FOURTH_MM = {"kind": "every", "step_mm": 4}
SIXTH_MM = {"kind": "every", "step_mm": 6}
CHOOSING = {"blobs-2": LesionCohort(16, 2, layers=True)}
REPORTED = {
    "blobs-7": LesionCohort(40, 7, slices=ALL),
    "strokes-9": LesionCohort(24, 9, strokes=True, slices=FOURTH_MM),
}
HELD_BACK = {
    "texture-11": LesionCohort(16, 11, strokes=True, change="texture", slices=FOURTH_MM),
    "pasted-dark": LesionCohort(brains="ds002748-native", both=True, slices=SIXTH_MM),
    "pasted-texture": LesionCohort(brains="ds002748-native", both=True, change="texture", slices=SIXTH_MM),
    "pasted-2mm": LesionCohort(brains="ds002748-2mm"),
}
COHORTS = CHOOSING | REPORTED | HELD_BACK


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything lies."""

    work: Path
    images: Path
    """Real brains and masks."""

    def ready(self, name: str) -> Path:
        """The folder of a cohort whose images and store are there; made where they are not."""
        cohort, folder = COHORTS[name], self.work / name
        masks = self.images / "lesion" / "Subject_*.nii.gz"
        with self.watched(f"images of {name}"):
            if cohort.brains:
                found = sorted((self.images / cohort.brains).glob("sub-*/anat/*_T1w.nii.gz"))
                paste_cohort(found, masks, folder / "images", cohort.change, 0, cohort.both)
            else:
                shape = masks if cohort.strokes else None
                simulate_tree(
                    folder / "images",
                    cohort.participants,
                    "lesion",
                    cohort.seed,
                    lesion=cohort.change,
                    lesion_masks=shape,
                    workers=1,
                )
        file = self.write(folder / "extract.yaml", cohort, {})
        whole = folder / "extracted"
        if not whole.exists():
            with self.watched(f"store of {name}"):
                subprocess.run([sys.executable, "-m", "slicecache", "extract", str(file)], check=True)
            whole.touch()
        return folder

    def write(self, path: Path, cohort: LesionCohort, detect: Mapping[str, Any], **section: Any) -> Path:
        """A pipeline file; its run folder is named after it."""
        table = "volumes.tsv" if cohort.brains else "participants.tsv"
        layers = LAYERS if cohort.layers else ()
        data = {
            "run": {"folder": f"run-{path.stem}"},
            "cache": {"store": "cache.zarr"},
            "extract": {
                "input": {"bids": "images", "suffix": "T1w"},
                "slices": dict(cohort.slices),
                "backbone": {"kind": "untrained", "size": "tiny", "seed": 0},
                "tokens": ["cls", "patches", *layers],
                "engine": "torch",
                "dtype": "float32",
                "workers": 0,
            },
            "aggregate": {
                "cohort": f"images/{table}",
                **({"sessions": "all"} if cohort.brains else {}),
                "detect": {
                    "reference": cohort.reference,
                    "maps": "none",
                    "memory_gib": 1.0,
                    **({"truth": {"column": "lesion_mask"}} if cohort.brains else {}),
                    "detectors": [{"kind": "mahalanobis"}],
                    **detect,
                },
                **section,
            },
        }
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    def detect(self, name: str, what: str, detectors: Sequence[Mapping[str, Any]], **more: Any) -> Path:
        """The run folder of a detection that is done, now or before.

        Args:
            name: Of a cohort.
            what: Names the run.
            detectors: As in a pipeline file.
            more: Further keys of `detect`; `section` holds keys beside it.
        """
        cohort, folder = COHORTS[name], self.ready(name)
        section, detect = more.pop("section", {}), {"detectors": list(map(dict, detectors)), **more}
        file = self.write(folder / f"{what}.yaml", cohort, detect, **section)
        out = folder / f"run-{what}" / "detect"
        if not (out / "metrics.json").exists():
            with self.watched(f"{what} on {name}"):
                results = run_detection(detect_plan(load_pipeline(file)))
                write_json(out / "metrics.json", results.metrics)
        return out

    @contextmanager
    def watched(self, what: str) -> Iterator[None]:
        """Put down what something took of the processor."""
        before = _seconds()
        yield
        with (self.work / "seconds.jsonl").open("a") as log:
            log.write(json.dumps({"what": what, "cpu_seconds": round(_seconds() - before, 1)}) + "\n")


def _seconds() -> float:
    """Of the processor, by this process and those that it waited for."""
    usages = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
