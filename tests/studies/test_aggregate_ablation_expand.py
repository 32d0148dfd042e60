"""What `aggregate.ablate` expands to, and what it refuses before anything is trained."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from aggregate.ablate.grid.expand import Study, expand
from aggregate.ablate.runs.jobs import representatives
from aggregate.config.section import parse_section
from cache_schema.common.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"
NAMED = {
    "mean_pool": {"head.kind": "mean"},
    "abmil": {"head.kind": "attention"},
    "dinoatten3d": {"recipe": "dinoatten3d"},
}


def raw(ablate: dict[str, Any], **section: Any) -> dict[str, Any]:
    base = {"cohort": "t.tsv", "target": "dx", "head": {"kind": "attention", "hidden": 32}}
    return {**base, **section, "ablate": {"configurations": NAMED, **ablate}}


def names(study: Study) -> list[str]:
    return [c.name for c in study.configurations]


def test_a_configuration_is_the_section_with_its_changes() -> None:
    study = expand(raw({}, train={"epochs": 7, "batch_size": 5}))
    mean, abmil, recipe, _ = study.configurations
    assert names(study) == [*NAMED, "dinoatten3d start=baseline"]
    assert study.reference == "mean_pool"
    assert (mean.section.head.kind, mean.section.train.epochs) == ("mean", 7)
    assert abmil.section.head.hidden == 32  # type: ignore[union-attr]
    # A recipe that a configuration names wins over the section; what it does not say stays.
    assert recipe.section.head.hidden == 64  # type: ignore[union-attr]
    assert recipe.section.loss.supcon.weight == 1.0
    assert (recipe.section.train.epochs, recipe.section.train.batch_size) == (7, 16)


def test_a_recipe_is_shown_a_second_time_from_the_baseline() -> None:
    study = expand(raw({}, train={"epochs": 7}))
    first, second = study["dinoatten3d"], study["dinoatten3d start=baseline"]
    assert (first.section.train.start, second.section.train.start) == ("plain", "baseline")
    assert (first.section.head.embedding, second.section.head.embedding) == ((256, 128), ())
    assert first.section.loss == second.section.loss
    usual = second.section.train.training(second.section.head, second.section.loss, 50)
    assert usual.starts_at_baseline
    assert (usual.epochs, usual.batch_size, usual.patience) == (7, 50, None)
    assert usual.learning_rate > first.section.train.learning_rate


@pytest.mark.parametrize(
    "given",
    [
        {"head.kind": "attention"},
        {"recipe": "dinoatten3d", "train.start": "plain"},
        {"recipe": "dinoatten3d", "head.embedding": "none"},
    ],
    ids=str,
)
def test_who_decides_on_the_start_is_shown_once(given: dict[str, Any]) -> None:
    assert names(expand(raw({"configurations": {"it": given}}))) == ["it"]
    assert names(expand(raw({"configurations": {"it": {"recipe": "mst"}}, "second_start": False}))) == ["it"]


def test_the_second_start_keeps_what_a_configuration_says_of_its_training() -> None:
    study = expand(raw({"configurations": {"it": {"recipe": "mst", "train.epochs": 3}}}))
    assert [c.section.train.epochs for c in study.configurations] == [3, 3]
    assert study.configurations[1].section.train.learning_rate is None


def test_a_recipe_of_the_section_is_overridden_by_path() -> None:
    study = expand(
        raw(
            {
                "configurations": {
                    "as_is": {},
                    "mean": {"head.kind": "mean", "head.embedding": [6], "loss.supcon": 0.5},
                    "warm": {"loss.supcon.temperature": 0.5},
                }
            },
            head={},
            recipe="dinoatten3d_sum",
        )
    )
    as_is, mean, warm = (c.section for c in study.configurations)
    assert as_is.head.embedding == (256, 128)
    assert (mean.head.kind, mean.head.embedding) == ("mean", (6,))
    assert (mean.loss.supcon.weight, mean.loss.supcon.temperature) == (0.5, 0.07)
    assert mean.loss.class_variance.reduction == "sum"
    assert (warm.loss.supcon.weight, warm.loss.supcon.temperature) == (1.0, 0.5)


def test_a_bare_kind_of_head_takes_paths_below_it() -> None:
    named = {"section": {"head.embedding": [6]}, "own": {"head": "max", "head.embedding": [6]}}
    study = expand(raw({"configurations": named}, head="mean"))
    heads = [configuration.section.head for configuration in study.configurations]
    assert [(head.kind, head.embedding) for head in heads] == [("mean", (6,)), ("max", (6,))]


def test_a_bare_weight_in_the_section_takes_a_path_below_it() -> None:
    study = expand(raw({"configurations": {"a": {"loss.supcon.temperature": 0.2}}}, loss={"supcon": 0.25}))
    found = study["a"].section.loss.supcon
    assert (found.weight, found.temperature) == (0.25, 0.2)


def test_a_grid_is_a_product_less_exclude_plus_include() -> None:
    study = expand(
        raw(
            {
                "grid": {
                    "from": "dinoatten3d",
                    "loss.supcon": [0, 0.5, 1],
                    "loss.class_variance.weight": [0, 0.1],
                },
                "exclude": [{"loss.supcon": 0, "loss.class_variance.weight": 0}],
                "include": [{"loss.supcon": 3}],
            }
        )
    )
    assert names(study)[4:] == [
        "dinoatten3d supcon=0 class_variance=0.1",
        "dinoatten3d supcon=0.5 class_variance=0",
        "dinoatten3d supcon=0.5 class_variance=0.1",
        "dinoatten3d supcon=1 class_variance=0",
        "dinoatten3d supcon=1 class_variance=0.1",
        "dinoatten3d supcon=3",
    ]
    assert study.candidates == tuple(names(study)[4:])
    assert study["dinoatten3d supcon=3"].section.loss.class_variance.weight == 0.1
    same = representatives(study.configurations)
    assert same["dinoatten3d supcon=1 class_variance=0.1"] == "dinoatten3d"
    assert same["dinoatten3d supcon=3"] == "dinoatten3d supcon=3"


def test_names_tell_what_varies() -> None:
    grid = {"head.embedding": [[3]], "loss.supcon.weight": [1, 2], "loss.supcon.temperature": [0.1, 3]}
    assert names(expand(raw({"grid": grid})))[4::2] == [
        "grid supcon=1 supcon.temperature=0.1",
        "grid supcon=2 supcon.temperature=0.1",
    ]


def test_tokens_and_stores_are_axes() -> None:
    study = expand(
        raw(
            {
                "configurations": {"a": {}, "b": {"tokens": "cls"}},
                "tokens": ["cls", "patch_mean"],
                "stores": {"main": "main", "large": "l.zarr"},
                "grid": {"from": "a", "train.epochs": [3, 4]},
            }
        )
    )
    found = {c.name: (c.store, c.section.tokens) for c in study.configurations}
    assert found == {
        "a": ("main", "cls"),
        "a store=large": ("large", "cls"),
        "a tokens=patch_mean": ("main", "patch_mean"),
        "a tokens=patch_mean store=large": ("large", "patch_mean"),
        "b": ("main", "cls"),
        "b store=large": ("large", "cls"),
        "a epochs=3": ("main", "cls"),
        "a epochs=4": ("main", "cls"),
        "a store=large epochs=3": ("large", "cls"),
        "a store=large epochs=4": ("large", "cls"),
        "a tokens=patch_mean epochs=3": ("main", "patch_mean"),
        "a tokens=patch_mean epochs=4": ("main", "patch_mean"),
        "a tokens=patch_mean store=large epochs=3": ("large", "patch_mean"),
        "a tokens=patch_mean store=large epochs=4": ("large", "patch_mean"),
    }


@pytest.mark.parametrize(
    ("ablate", "said"),
    [
        ({"referense": "abmil"}, "did you mean 'reference'"),
        ({"reference": "meanpool"}, "did you mean 'mean_pool'"),
        ({"primary": [["abmil", "dinoaten3d"]]}, "did you mean 'dinoatten3d'"),
        ({"primary": [["abmil", "abmil"]]}, "with itself"),
        (
            {"configurations": {"a": {"haed.kind": "mean"}}},
            "configuration 'a': 'haed.kind'.*did you mean 'head'",
        ),
        ({"configurations": {"a": {"cohort": "b.tsv"}}}, "cannot differ between configurations"),
        ({"configurations": {"a": {"head.knid": "mean"}}}, "configuration 'a'.*knid"),
        ({"configurations": {"a": {"head.kind": "maen"}}}, "configuration 'a'"),
        (
            {"configurations": {"a": {"recipe": "dinoaten3d"}}},
            "configuration 'a'.*did you mean 'dinoatten3d'",
        ),
        ({"configurations": {"a": {"train.epochs": 0}}}, "configuration 'a'.*epochs"),
        ({"configurations": {"a": {"tokens.cls": 1}}}, "has no parts"),
        ({"configurations": {"nested_selection": {}}}, "choose another name"),
        (
            {"configurations": {"a": {"head.kind": "mean", "loss.supcon": 1}}},
            "configuration 'a'.*nothing trainable",
        ),
        ({"configurations": {}}, "configurations"),
        ({"grid": {"from": "abmi", "loss.supcon": [1]}}, "did you mean 'abmil'"),
        ({"grid": {"loss.supcon": 1}}, "list of values"),
        ({"grid": {"loss.supcon": [1, 1]}}, "twice"),
        ({"grid": {"from": "abmil"}}, "at least one path"),
        (
            {"grid": {"loss.supcon": [1]}, "exclude": [{"loss.supcno": 1}]},
            "no axis.*did you mean 'loss.supcon'",
        ),
        ({"grid": {"loss.supcon": [1]}, "exclude": [{"loss.supcon": 2}]}, "no point of the grid"),
        ({"include": [{"loss.supcon": 2}]}, "there is no grid"),
        ({"grid": {"head.kind": ["mean"], "loss.supcon": [0, 1]}}, "configuration 'grid supcon=1'"),
        ({"select": "nestd"}, "nested"),
        ({"select": {"kind": "nested", "among": ["abmill"]}}, "did you mean 'abmil'"),
    ],
)
def test_mistakes_are_refused_by_name(ablate: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expand(raw(ablate))


def test_train_takes_no_notice_of_the_key_but_checks_it() -> None:
    assert parse_section(raw({})).head.kind == "attention"
    with pytest.raises(ConfigError, match="did you mean 'primary'"):
        parse_section(raw({"primari": []}))
    with pytest.raises(ConfigError, match=r"aggregate\.ablate is missing"):
        expand({"cohort": "t.tsv", "target": "dx"})


def test_the_loss_study_in_the_docs_expands() -> None:
    data = yaml.safe_load((DOCS / "dinoatten3d-losses.yaml").read_text())
    study = expand(data["aggregate"])
    points = [c for c in study.configurations if c.point is not None]
    assert len(points) == 5 * 5 * 2
    published = [c for c in points if representatives(study.configurations)[c.name] == "published"]
    assert len(published) == 1
    assert {c.section.loss.class_variance.reduction for c in points} == {"mean", "sum"}
    assert study.section.folds.n == 5
    assert study.section.seeds > 1
    assert study.spec.select is not None
