"""Every field that a pipeline file reaches has words, a shown default and an example that validates."""

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from aggregate.config.section import AggregateSection, DetectSection
from aggregate.heads.registry import HEADS
from cache_schema.cluster.site import Site
from cache_schema.common.pipeline_file import CacheSection, RunSection
from cache_schema.common.text.places import branches
from cache_schema.words.examples import default_of, example, minimal
from cache_schema.words.field_words import description
from extract.planning.config import ExtractSection

Model = type[BaseModel]


def reached(*roots: Model) -> tuple[Model, ...]:
    """Every model that these reach, through every member of every union."""
    found = dict.fromkeys(roots)
    left = list(roots)
    for model in left:  # grows while it is walked
        held = [field.annotation for field in model.model_fields.values()]
        held.append(vars(model).get("__annotations__", {}).get("__pydantic_extra__"))
        new = [below for annotation in held for _, below in branches(annotation) if below not in found]
        found |= dict.fromkeys(new)
        left += dict.fromkeys(new)
    return tuple(found)


ROOTS = (RunSection, CacheSection, ExtractSection, AggregateSection, DetectSection, Site)
MODELS = [pytest.param(model, id=model.__name__) for model in reached(*ROOTS)]
LAYERS = {"embedding": [256, 128]}
GRID = {"grid": {"head.hidden": [16, 64]}}
NEEDS = {
    "HuggingFaceSpec": {"repository": "microsoft/rad-dino"},
    "HuggingFaceSpec.path": {"repository": None},
    "JoinSpec.nearest": {"dates": {"bids": "data/cohort"}},
    "AblateSpec.include": GRID,
    "AblateSpec.exclude": GRID,
    "DatesSpec": {"table": "scans.csv"},
    "DatesSpec.bids": {"table": None},
    "ReferenceSpec": {"slices": "lesion_free"},
    "ReferenceSpec.column": {"slices": None, "value": "control"},
    "ReferenceSpec.value": {"slices": None, "column": "diagnosis"},
    "ReferenceSpec.values": {"slices": None, "column": "diagnosis"},
    **{f"{head.__name__}.train": LAYERS for head in HEADS},
}
"""What a rule about several keys wants beside one: for any field of a model, or beside one field."""
ONE_VALUE = ("ConcatSpec.train", "ConcatLogisticSpec.train", "NamedStoreOptions.allow_unknown_orientation")
"""Fields of a base that these may not change."""


def test_the_walk_reaches_every_union_and_what_has_names_of_the_users_own():
    found = {model.__name__ for model in reached(*ROOTS)}
    assert found >= {"MstSpec", "DpmmSpec", "CropCanvas", "WarmupSchedule", "SurvivalSpec", "CustomLossSpec"}
    assert len(MODELS) > 100


@pytest.mark.parametrize("model", MODELS)
def test_each_field_has_words_and_an_example_that_validates(model):
    for name, field in model.model_fields.items():
        called = f"{model.__name__}.{name}"
        assert len(description(model, name)) > 10, called
        found = example(model, name)
        assert found not in (None, "", {}, [], ()) or field.annotation == tuple[()], called
        if called not in ONE_VALUE:
            beside = {**NEEDS.get(model.__name__, {}), **NEEDS.get(called, {})}
            model.model_validate({**minimal(model), **beside, name: found})


@pytest.mark.parametrize("model", MODELS)
def test_the_default_that_is_shown_is_the_one_that_holds(model):
    least = {**minimal(model), **NEEDS.get(model.__name__, {})}
    for name, field in model.model_fields.items():
        shown = default_of(model, name)
        if field.is_required():
            assert shown is PydanticUndefined
        elif name not in least and f"{model.__name__}.{name}" not in ONE_VALUE:
            fresh = getattr(model, "new_run", lambda given: {})(least)
            silent, said = (model.model_validate({**fresh, **least, **more}) for more in ({}, {name: shown}))
            assert getattr(silent, name) == getattr(said, name)
