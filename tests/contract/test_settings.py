"""A pipeline file: strict, helpful, relative to itself."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline, apply_override, load_pipeline, suggest, validate
from cache_schema.common.strict import Strict


class Mean(Strict):
    kind: Literal["mean"] = "mean"


class Attention(Strict):
    kind: Literal["attention"]
    hidden: int = Field(gt=0, default=128)


class Section(Strict):
    head: Annotated[Mean | Attention, Field(discriminator="kind")] = Mean()
    seeds: tuple[int, ...] = ()
    rate: float = 0.1


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "folder" / "pipeline.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_paths_are_relative_to_the_file(write):
    path = write("run: {folder: runs/a}\ncache: {store: runs/a/cache.zarr}")
    pipeline = load_pipeline(path)
    assert pipeline.folder() == path.parent / "runs/a"
    assert pipeline.store() == str(path.parent / "runs/a/cache.zarr")
    assert pipeline.path("/absolute") == Path("/absolute")
    assert pipeline.path("~/x") == Path.home() / "x"


def test_urls_stay_urls(write):
    pipeline = load_pipeline(write("cache: {store: 's3://bucket/cache.zarr'}"))
    assert pipeline.store() == "s3://bucket/cache.zarr"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must hold the sections run, cache, extract, aggregate"),
        ("", "must hold the sections"),
        ("run: {folder: [", "is not YAML"),
        ("agregate: {}", "unknown key 'agregate' in the pipeline; did you mean 'aggregate'?"),
        ("zzz: {}", "known are run, cache, extract, aggregate"),
    ],
)
def test_files_that_are_no_pipeline(write, text, said):
    with pytest.raises(ConfigError) as refusal:
        load_pipeline(write(text))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the pipeline"):
        load_pipeline(tmp_path / "none.yaml")


def test_missing_section_and_missing_key(write):
    pipeline = load_pipeline(write("run: {}"))
    with pytest.raises(ConfigError, match="no section 'extract'"):
        pipeline.section("extract", Section)
    with pytest.raises(ConfigError, match=r"run\.folder is missing"):
        pipeline.folder()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"hed": {}}, "unknown key aggregate.hed; did you mean 'head'?"),
        ({"head": {"kind": "attention", "hiden": 3}}, "hiden; did you mean 'hidden'?"),
        ({"head": {"kind": "attention", "hidden": 0}}, "a number above 0 is expected, not 0"),
        ({"rate": float("nan")}, "aggregate.rate"),
        ({"seeds": ["a"]}, "aggregate.seeds.0"),
        ({"a1": 1, "b1": 2, "c1": 3}, "(and 1 more)"),
        (None, "aggregate"),
    ],
)
def test_problems_are_named_in_one_line(value, said):
    with pytest.raises(ConfigError) as refusal:
        validate(Section, value, "aggregate")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_overrides_reach_into_the_file(write):
    path = write("aggregate: {head: {kind: mean}, rate: 0.5}")
    overrides = ["aggregate.head={kind: attention}", "aggregate.head.hidden=7", "aggregate.seeds=[1, 2]"]
    section = load_pipeline(path, overrides).section("aggregate", Section)
    assert section == Section(head=Attention(kind="attention", hidden=7), seeds=(1, 2), rate=0.5)


@given(
    names=st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4),
    value=st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.booleans(), st.text("xyz", min_size=1)),
)
def test_an_override_sets_that_value_only(names, value):
    data = {"untouched": {"x": 1}}
    apply_override(data, f"{'.'.join(names)}={value}")
    assert data.pop("untouched") == {"x": 1}
    node = data
    for name in names:
        assert list(node) == [name]
        node = node[name]
    assert node == value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rate", "--set takes NAME=VALUE"),
        ("=1", "--set takes NAME=VALUE"),
        ("rate.x=1", "'rate' is 0.5, not a section"),
        ("head=[1", "head"),
    ],
)
def test_malformed_overrides(override, said):
    with pytest.raises(ConfigError) as refusal:
        apply_override({"rate": 0.5}, override)
    assert said in str(refusal.value)


def test_suggestions():
    assert suggest("supcom", ["cross_entropy", "supcon"]) == "; did you mean 'supcon'?"
    assert suggest("qqq", ["a", "b"]) == "; known are a, b"


def test_sections_are_checked_when_the_pipeline_is_made(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'extract'"):
        Pipeline({"extrct": {}}, tmp_path)
