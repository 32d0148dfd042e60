"""The JSON schema and the reference page are the models' own: what these take, and what they refuse."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import slicecache
from aggregate.config.section import parse_section, read_aggregate_section, read_detect_section
from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HEADS
from cache_schema.cluster.site import Site
from cache_schema.common.errors import ConfigError
from cache_schema.common.lazy_names import imported
from cache_schema.common.pipeline_file import SECTIONS, CacheSection, Pipeline, RunSection, load_pipeline
from cache_schema.words.reference import reference_page
from cache_schema.words.schema import pipeline_schema
from extract.planning.config import ExtractSection

ROOT = Path(__file__).parents[2]
MODELS = {name: imported(place) for name, place in slicecache.SECTION_MODELS.items()}
PAGE = {**MODELS, "site": Site}
FILES = [
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "tests" / "data" / "v1")
    for path in sorted(folder.glob("*.yaml"))
]


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    made = pipeline_schema(MODELS)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def read_by_us(data: dict[str, Any]) -> None:
    """Hold a pipeline to the models, as the verbs do."""
    pipeline = Pipeline(copy.deepcopy(data), ROOT)
    for name, model in (("run", RunSection), ("cache", CacheSection), ("extract", ExtractSection)):
        if name in data:
            pipeline.section(name, model)
    if "aggregate" in data:
        detects = "target" not in data["aggregate"]
        (read_detect_section if detects else read_aggregate_section)(pipeline)


def test_there_are_pipelines_to_hold_it_to():
    assert len(FILES) > 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_pipeline_here_is_taken(path, schema):
    data = load_pipeline(path).data
    assert [error.json_path for error in schema.iter_errors(data)] == []
    read_by_us(data)


SHORT = {
    "extract": {"input": {"files": "a.nii"}, "canvas": 448, "stores": {"main": None}, "normalise": "none"},
    "aggregate": {
        "cohort": "t.csv", "target": "dx", "missing": -4, "harmonise": "combat", "train": "auto",
        "split": "part", "tokens": ["cls", "patch_mean"], "select": {"run": 1},
        "join": {"pad": 3, "tables": {"table": "t.csv", "by": "id"}, "visits": {"bl": "M00"}},
        "loss": {"supcon": 1, "mine": {"target": "a:b"}, "cross_entropy": {"class_weights": None}},
        "head": {"kind": "attention", "embedding": "none"},
        "ablate": {"configurations": {"a": {}}, "tokens": "cls", "stores": "main", "select": "nested"},
        "detect": {
            "reference": {"column": "dx", "value": 1}, "detectors": [{"kind": "dpmm"}], "truth": "none",
        },
    },
}  # fmt: skip


def test_short_forms_are_taken(schema):
    data = copy.deepcopy(SHORT)
    data["aggregate"]["head"]["embedding"] = [8]  # supcon needs something to train
    read_by_us(data)
    assert [error.json_path for error in schema.iter_errors(data)] == []
    assert [error.json_path for error in schema.iter_errors(SHORT)] == []


@pytest.mark.parametrize("kind", [kind for kind in HEADS if kind is not CustomHeadSpec])
def test_a_head_may_be_its_kind_alone(kind, schema):
    own = {"cohort": "t.csv", "target": "dx", "head": kind.model_fields["kind"].default}
    assert [error.json_path for error in schema.iter_errors({"aggregate": own})] == []
    assert parse_section(own).head == kind()


WRONG = [
    ("cach.store", "x", "did you mean 'cache'"),
    ("run.foldr", "x", "did you mean 'folder'"),
    ("extract.bakcbone", {"kind": "dinov2"}, "did you mean 'backbone'"),
    ("extract.backbone.kind", "dinov4", "did you mean 'dinov"),
    ("extract.slices", {"kind": "every", "stepmm": 4}, "did you mean 'step_mm'"),
    ("extract.input.sufix", "T1w", "did you mean 'suffix'"),
    ("extract.device", "gpu", "'cuda'"),
    ("aggregate.head.kind", "atention", "did you mean 'attention'"),
    ("aggregate.head", "atention", "aggregate.head.kind: there is no 'atention'; did you mean 'attention'"),
    ("aggregate.folds.repeat", 10, "did you mean 'repeats'"),
    ("aggregate.folds.n", 1, "at least 2"),
    ("aggregate.train.epochs", "many", "a whole number"),
    ("aggregate.loss.supcon.wieght", 1, "did you mean 'weight'"),
    ("aggregate.target.colum", "dx", "did you mean 'column'"),
]


@pytest.mark.parametrize(("place", "value", "said"), WRONG, ids=[place for place, *_ in WRONG])
def test_wrong_ones_are_refused_and_the_nearest_key_is_named(place, value, said, schema):
    data = yaml.safe_load((ROOT / "pipeline.yaml").read_text())
    data["aggregate"]["loss"]["supcon"] = {"weight": 0}
    assert not list(schema.iter_errors(data))
    *steps, last = place.split(".")
    node = data
    for step in steps:
        node = node.setdefault(step, {})
    node[last] = value
    assert list(schema.iter_errors(data))
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_by_us(data)


def test_each_key_of_the_schema_is_described_and_has_an_example(schema):
    models = [made for made in schema.schema["$defs"].values() if "properties" in made]
    places = [place for made in models for place in made["properties"].values()]
    assert len(places) > 400
    assert all(place["description"] and place["examples"] for place in places)
    assert list(schema.schema["properties"]) == list(SECTIONS)


def test_the_reference_page_is_up_to_date_and_its_links_lead_somewhere():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == reference_page(PAGE) + "\n", "make docs-reference writes it anew"
    headings = {
        re.sub(r"[^\w-]", "", line.lstrip("# ").lower()) for line in page.split("\n") if line[:1] == "#"
    }
    links = set(re.findall(r"\]\(#([\w-]+)\)", page))
    assert len(links) > 30
    assert links <= headings
