"""What is wrong with a pipeline is said in the words of whoever wrote it, wherever it stands."""

import re
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from aggregate.config.section import AggregateSection, DetectSection
from cache_schema.common.errors import ConfigError, VolumeError
from cache_schema.common.one_line import printable
from cache_schema.common.pipeline_file import CacheSection, RunSection, validate
from cache_schema.common.text.mistakes import THEIRS, shown
from cache_schema.common.text.places import KIND, branches
from extract.planning.config import ExtractSection

SECTIONS = (("extract", ExtractSection), ("aggregate", AggregateSection), ("aggregate", DetectSection))
NOT_OURS = re.compile(
    r"discriminator|Input should|type=|valid|pydantic|unable|<class|function-", re.IGNORECASE
)
VALID = {
    "extract": {"input": {"bids": "x"}},
    "aggregate": {"cohort": "t.csv", "target": "dx"},
}


def _unions(
    model: type[BaseModel], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Every union on `kind` that is reachable from a model, with the path of its field and its kinds."""
    for name, field in model.model_fields.items():
        members = [member for _, member in branches(field.annotation)]
        kinds = [
            k for m in members if KIND in m.model_fields for k in get_args(m.model_fields[KIND].annotation)
        ]
        if len(kinds) > 1:
            yield (*path, name), kinds
        for member in members:
            if len(members) == 1:
                own = ("one",) if get_origin(field.annotation) is dict else ()  # a mapping by names
                yield from _unions(member, (*path, name, *own))


UNIONS = [
    pytest.param(section, model, path, kinds, id=".".join((section, *path)) + f" {model.__name__}")
    for section, model in SECTIONS
    for path, kinds in _unions(model)
]


def test_the_unions_are_found():
    found = {parameter.id.split()[0] for parameter in UNIONS}
    assert found >= {"extract.slices", "extract.backbone", "aggregate.head", "aggregate.detect.detectors"}


def _refused(model: type[BaseModel], section: str, path: tuple[str, ...], value: Any) -> str:
    data: dict[str, Any] = {**VALID[section]}
    node = data
    for step in path[:-1]:
        node = node.setdefault(step, {})
    node[path[-1]] = value
    if path[:1] == ("detect",):
        node["reference"] = {"column": "dx", "value": "a"}
    with pytest.raises(ConfigError) as caught:
        validate(model, data, section)
    said = str(caught.value)
    assert not NOT_OURS.search(said), said
    return said


@pytest.mark.parametrize(("section", "model", "path", "kinds"), UNIONS)
def test_a_wrong_kind_gives_the_nearest_one(section, model, path, kinds):
    many = path[-1] == "detectors"
    place = ".".join((section, *path)) + (".0" if many else "")
    for kind in kinds:
        wrong = {"kind": kind[:-1] + "q"}
        said = _refused(model, section, path, [wrong] if many else wrong)
        assert said.startswith(f"{place}.kind: there is no {wrong['kind']!r}; did you mean "), said
    for value in ({}, {"kind": None}, {"kind": 5}, {"kind": ["a"]}, {"kind": {"a": 1}}):
        said = _refused(model, section, path, [value] if many else value)
        assert place in said
    for value in ("x", 5, ["x"], True):
        said = _refused(model, section, path, [value] if many else value)
        assert said.startswith(place)


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        (
            "extract",
            {"preset": "leterbox"},
            "extract.preset: .*'letterbox'.* is expected, not 'leterbox'; did you",
        ),
        ("extract", {"batch_size": 0}, "extract.batch_size: a number of at least 1 is expected, not 0"),
        ("extract", {"batch_size": "many"}, "extract.batch_size: a whole number is expected, not 'many'"),
        ("extract", {"batch_size": 1.5}, "extract.batch_size: a whole number is expected, not 1.5"),
        ("extract", {"offline": "perhaps"}, "extract.offline: true or false is expected, not 'perhaps'"),
        ("extract", {"tokens": "cls"}, "extract.tokens: a list is expected, not 'cls'"),
        ("extract", {"tokens": ["cls", "klass"]}, "extract.tokens.1: .* is expected, not 'klass'"),
        ("extract", {"slices": {"kind": "every"}}, r"^extract.slices.step_mm is missing$"),
        (
            "extract",
            {"slices": {"kind": "every", "step_m": 1}},
            "unknown key extract.slices.step_m; did you mean 'step_mm'",
        ),
        (
            "extract",
            {"slices": "foregroun"},
            "extract.slices: a mapping with kind is expected, .*'foreground'",
        ),
        ("extract", {"slices": {}}, "extract.slices.kind is missing; it is one of all, foreground,"),
        ("extract", {"seed": 3}, "unknown key extract.seed; it belongs to extract.backbone"),
        (
            "extract",
            {"input": {"bids": "x", "sufix": "T1w"}},
            "unknown key extract.input.sufix; did you mean 'suffix'",
        ),
        (
            "extract",
            {"input": {"bids": "x", "suffix": [[]]}},
            r"extract.input.suffix.0: text .* or a whole number is exp",
        ),
        (
            "extract",
            {"input": {"bids": "x", "suffix": "mask"}},
            r"^extract.input.suffix: 'mask' names a mask",
        ),
        ("extract", {"input": 5}, "extract.input: either `bids: FOLDER` or"),
        (
            "aggregate",
            {"head": {"kind": "attention", "hidden": "x"}},
            r"^aggregate.head.hidden: a whole number is",
        ),
        (
            "aggregate",
            {"head": {"kind": "attention", "hiden": 3}},
            r"aggregate.head.hiden; did you mean 'hidden'\?$",
        ),
        (
            "aggregate",
            {"loss": {"supcon": -1}},
            r"^aggregate.loss.supcon: a number of at least 0 is expected, not -1$",
        ),
        (
            "aggregate",
            {"loss": {"supcon": {"wight": 1}}},
            "unknown key aggregate.loss.supcon.wight; did you mean 'weight'",
        ),
        ("aggregate", {"epochs": 3}, "unknown key aggregate.epochs; it belongs to aggregate.train"),
        ("aggregate", {"target": ["dx"]}, "aggregate.target: a mapping is expected, not"),
        ("aggregate", {"cohort": 5}, r"aggregate.cohort: a path .*is expected, not 5"),
        ("aggregate", {"confounds": 5}, "aggregate.confounds: a list is expected, not 5"),
        ("aggregate", {"where": 3}, "aggregate.where: text .* is expected, not 3"),
        ("aggregate", {"a\nb": 3}, r"unknown key aggregate.'a\\nb'"),
        ("aggregate", {7: 3}, "aggregate"),
        (
            "aggregate",
            {"ablate": {"configurations": {}}},
            "aggregate.ablate.configurations: a list of at least 1",
        ),
    ],
)
def test_what_is_wrong_is_said_as_it_was_written(section, value, expected):
    model = {"extract": ExtractSection, "aggregate": AggregateSection}[section]
    with pytest.raises(ConfigError, match=expected) as caught:
        validate(model, {**VALID[section], **value}, section)
    assert not NOT_OURS.search(str(caught.value))


@pytest.mark.parametrize("model", [RunSection, CacheSection])
@pytest.mark.parametrize("value", [None, 5, "x", [], {"folder": 3, "store": 3}])
def test_small_sections_too(model, value):
    with pytest.raises(ConfigError) as caught:
        validate(model, value, "run")
    assert not NOT_OURS.search(str(caught.value))


def test_a_sentence_is_one_line_and_ends():
    assert len(str(ConfigError("start " + "\x02" * 9000 + " end"))) < 2100
    assert str(VolumeError("a\nb")) == "a\\nb"


def test_values_are_shown_on_one_line_and_cut():
    assert shown("a" * 200).endswith("...")
    assert len(shown("a" * 200)) == 80
    assert shown(10**5000) == "int too large to show"
    assert printable("a\nb\x1b[31m\u202e") == "a\\nb\\x1b[31m\\u202e"
    assert "value_error" not in THEIRS
