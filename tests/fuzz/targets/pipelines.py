"""Pipeline files, overrides, and what a run folder keeps of them."""

from pathlib import Path

import yaml
from fuzz.target import ARCHIVE, Files, Target

from aggregate.ablate.grid.expand import expand
from aggregate.config.section import read_aggregate_section, read_detect_section
from cache_schema.common.pipeline_file import load_pipeline
from extract.planning.config import ExtractSection

ROOT = ARCHIVE.parents[2]
SHARED = (
    "cache_schema.common.pipeline_file",
    "cache_schema.common.text.mistakes",
    "cache_schema.common.text.places",
    "cache_schema.common.text.yaml_text",
    "cache_schema.common.custom",
)


def _pipelines() -> list[Files]:
    """The shipped pipelines, and one that says everything else."""
    shipped = [ROOT / "pipeline.yaml", ROOT / "docs" / "lesions.yaml", ARCHIVE / "pipeline.yaml"]
    return [{"pipeline.yaml": path.read_bytes()} for path in shipped] + [
        {"pipeline.yaml": yaml.safe_dump(data, sort_keys=False).encode()} for data in _RICH
    ]


_PLACES = {"run": {"folder": "r"}, "cache": {"store": "c.zarr"}}
_RICH = (
    {
        **_PLACES,
        "extract": {
            "input": {
                "manifest": "volumes.tsv",
                "columns": {"participant": "PTID", "session": "VISCODE", "path": "file"},
                "row_is_participant": False,
            },
            "preset": "dinoatten3d",
            "slices": {"kind": "band", "from_vertex_mm": [10, 130], "step_mm": 2},
            "backbone": {"kind": "dinov2", "path": "weights", "registers": True},
            "tokens": ["patch_mean", "patches"],
            "layers": [8, 4],
            "storage": "float32",
            "workers": 2,
        },
        "aggregate": {
            "cohort": "t.csv",
            "target": {"column": "DX", "classes": {"CN": ["CN"], "AD": ["Dementia", "AD"]}, "positive": "AD"},
            "where": "qc == 'pass' and age >= 55",
            "missing": [-4, -1],
            "join": {"participant": "PTID", "visits": {"bl": "01", "m06": "02"}, "strip_prefix": "X"},
            "sessions": "all",
            "select": {"contrast": "T1w", "run": "first"},
            "combine": "mean",
            "recipe": "dinoatten3d",
            "loss": {"supcon": 0.5, "class_variance": {"weight": 0.1, "reduction": "mean"}},
            "leave_group_out": "site",
            "confounds": ["age"],
            "ablate": {
                "configurations": {
                    "a": {"head.hidden": 16},
                    "b": {"recipe": "dinoatten3d_sum", "train.epochs": 5},
                },
                "grid": {"from": "b", "loss.supcon": [0, 0.5], "train.learning_rate": [0.1, 0.01]},
                "exclude": [{"loss.supcon": 0, "train.learning_rate": 0.1}],
                "include": [{"loss.supcon": 2}],
                "tokens": ["cls", "patch_mean"],
                "stores": {"dpmm": "d.zarr"},
                "primary": [["a", "b"]],
                "select": {"kind": "nested", "folds": 3},
            },
        },
    },
    {
        **_PLACES,
        "extract": {
            "input": {"bids": "x", "suffix": ["T1w", "T2w"], "session": [1, "02"], "run": "*"},
            "slices": {"kind": "center", "n": 5, "of": "array"},
            "canvas": 56,
            "backbone": {"kind": "custom", "target": "my.module:Net", "options": {"depth": 2}},
        },
        "aggregate": {
            "cohort": "t.csv",
            "target": "dx",
            "split": "split",
            "head": {"kind": "custom", "target": "my.module:Head", "options": {}, "embedding": [8]},
            "loss": {
                "cross_entropy": {"weight": 1.0, "class_weights": {"beta": 0.9}, "label_smoothing": 0.1},
                "focal": {"gamma": 1.0, "class_weights": [1, 2.5]},
                "triplet": {"margin": 0.2, "schedule": {"kind": "warmup", "epochs": 4}},
                "attention_entropy": {
                    "toward": "peak",
                    "schedule": {"kind": "cosine", "begin": 1, "end": 0, "epochs": 9},
                },
            },
            "train": {"epochs": 3, "patience": None, "class_balanced": True},
            "detect": {
                "reference": {"column": "dx", "value": ["control", 0]},
                "detectors": [
                    {"kind": "spatial_ar", "name": "a"},
                    {"kind": "dino_ad", "store": "x.zarr"},
                    {"kind": "custom", "target": "my.module:Detector"},
                ],
                "truth": {"column": "lesion_mask"},
                "seeds": 2,
                "split": {"fit": 0.5, "calibration": 0.25, "test": 0.25},
            },
        },
    },
)


def _extract(folder: Path) -> object:
    pipeline = load_pipeline(folder / "pipeline.yaml")
    pipeline.store(), pipeline.folder()
    return pipeline.section("extract", ExtractSection).preprocessing


def _aggregate(folder: Path) -> object:
    pipeline = load_pipeline(folder / "pipeline.yaml")
    section = read_aggregate_section(pipeline)
    return section.cohort_request(pipeline)


def _ablate(folder: Path) -> object:
    return expand(load_pipeline(folder / "pipeline.yaml").data.get("aggregate"))


def _detect(folder: Path) -> object:
    return read_detect_section(load_pipeline(folder / "pipeline.yaml"))


def _set_values(folder: Path) -> object:
    """Each line of a file is what follows one `--set`."""
    given = [path.read_text(encoding="utf-8", errors="replace") for path in folder.rglob("*.txt")]
    lines = [line for text in given for line in text.split("\n") if line]
    pipeline = load_pipeline(ARCHIVE / "pipeline.yaml", lines)
    pipeline.section("extract", ExtractSection)
    return read_aggregate_section(pipeline)


_SET = (
    b"aggregate.loss.supcon=0.5\naggregate.train.epochs=3\n",
    b"aggregate.head={kind: mean}\nextract.slices={kind: uniform, n: 3}\n",
    b"extract.tokens=[cls]\nextract.backbone.seed=5\naggregate.seeds=2\n",
)


def _with(key: str) -> list[Files]:
    """The pipelines whose section `aggregate` has a key."""
    return [files for files in _pipelines() if key in yaml.safe_load(files["pipeline.yaml"])["aggregate"]]


TARGETS = [
    Target(
        "pipeline extract",
        _pipelines,
        _extract,
        (*SHARED, "extract.planning.config", "extract.slices.preprocessing"),
    ),
    Target(
        "pipeline aggregate",
        lambda: _with("target"),
        _aggregate,
        (*SHARED, "aggregate.config.section", "aggregate.config.recipes"),
    ),
    Target(
        "pipeline ablate",
        lambda: _with("ablate"),
        _ablate,
        ("aggregate.ablate.grid.expand", "aggregate.ablate.grid.overrides", "aggregate.config.ablate"),
    ),
    Target(
        "pipeline detect",
        lambda: _with("detect"),
        _detect,
        ("aggregate.config.section", "aggregate.anomaly.spec"),
    ),
    Target("--set values", lambda: [{"given.txt": text} for text in _SET], _set_values, SHARED),
]
