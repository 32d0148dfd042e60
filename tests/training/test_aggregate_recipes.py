"""Recipes set several keys at once; explicit keys win."""

import pytest
from pydantic import TypeAdapter

from aggregate.config.recipes import RECIPES, with_recipe
from aggregate.config.section import parse_section
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.heads.mst import MstSpec
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec, require_trainable
from aggregate.training.spec import TrainSpec
from cache_schema.common.errors import ConfigError


def parts(data):
    filled = with_recipe(data)
    return (
        TypeAdapter(HeadSpec).validate_python(filled["head"]),
        LossSpec.model_validate(filled["loss"]),
        TrainSpec.model_validate(filled["train"]),
    )


@pytest.mark.parametrize("name", ["dinoatten3d", "dinoatten3d_sum", "dinoatten3d_released"])
def test_every_recipe_of_dinoatten3d_is_valid(name):
    head, loss, train = parts({"recipe": name})
    require_trainable(loss, head.name, bool(head.embedding), head.pool_learns)
    assert isinstance(head, AttentionSpec)
    assert (head.hidden, head.embedding) == (64, (256, 128))
    assert (loss.cross_entropy.weight, loss.supcon.weight, loss.class_variance.weight) == (1, 1, 0.1)
    assert (train.batch_size, train.learning_rate, train.weight_decay) == (16, 1e-3, 0)


def test_mst_is_the_published_fusion():
    head, loss, train = parts({"recipe": "mst"})
    assert isinstance(head, MstSpec)
    assert (head.heads, head.positions, head.embedding, head.centre) == (12, "none", (), False)
    assert not loss.contrastive
    assert head.draw == "as_released"
    assert (train.batch_size, train.learning_rate, train.weight_decay) == (16, 1e-4, 0.01)
    assert (train.optimiser, train.class_balanced, train.watch, train.patience) == (
        "adamw",
        "drawn",
        "auroc",
        50,
    )
    assert parts({"recipe": "mst", "head": {"positions": "rotary"}})[0].positions == "rotary"


def test_recipes_differ_where_they_say():
    plain, total, released = (
        parts({"recipe": name}) for name in ("dinoatten3d", "dinoatten3d_sum", "dinoatten3d_released")
    )
    assert plain[1].class_variance.reduction == "mean"
    assert total[1].class_variance.reduction == "sum"
    assert (plain[0].train, released[0].train) == ("all", "embedding")
    assert plain[2].patience is not None
    assert (released[2].patience, released[2].epochs, released[2].class_balanced) == (None, 1000, False)


def test_explicit_keys_win_one_by_one():
    head, loss, train = parts(
        {
            "recipe": "dinoatten3d_released",
            "head": {"hidden": 8},
            "loss": {"supcon": 0.25, "class_variance": {"weight": 0}},
            "train": {"epochs": 7},
            "tokens": "cls",
        }
    )
    assert (head.hidden, head.train) == (8, "embedding")
    assert (loss.supcon.weight, loss.supcon.temperature, loss.class_variance.weight) == (0.25, 0.07, 0)
    assert (train.epochs, train.patience) == (7, None)


def test_head_of_another_kind_replaces_the_recipes():
    head, loss, _ = parts({"recipe": "dinoatten3d", "head": {"kind": "mean"}})
    assert isinstance(head, MeanSpec)
    assert loss.supcon.weight == 1


def test_nothing_is_changed_in_place():
    data = {"recipe": "dinoatten3d", "head": {"hidden": 8}, "loss": {"supcon": 0.5}}
    with_recipe(data)
    assert data == {"recipe": "dinoatten3d", "head": {"hidden": 8}, "loss": {"supcon": 0.5}}
    assert RECIPES["dinoatten3d"]["head"]["hidden"] == 64
    assert with_recipe({"head": {"kind": "mean"}}) == {"head": {"kind": "mean"}}


def test_a_bare_kind_of_head_is_what_its_mapping_is():
    for kind in ("attention", "mean"):
        given = {"recipe": "dinoatten3d", "head": kind}
        assert parts(given) == parts({**given, "head": {"kind": kind}})


@pytest.mark.parametrize(
    ("target", "watch", "balanced"),
    [
        ("dx", "auroc", "drawn"),
        ({"column": "age", "task": "regression"}, "loss", "auto"),
        ({"column": "grade", "task": "ordinal"}, "loss", "auto"),
    ],
)
def test_a_recipe_for_classes_watches_the_loss_of_other_targets(target, watch, balanced):
    data = {"cohort": "c.tsv", "target": target, "recipe": "mst"}
    train = parse_section(data).train
    assert (train.watch, train.class_balanced, train.optimiser) == (watch, balanced, "adamw")
    # What the file says itself stays as it is, and is refused when it is trained.
    assert parse_section({**data, "train": {"watch": "auroc", "epochs": 3}}).train.watch == "auroc"


@pytest.mark.parametrize("name", ["dinoaten3d", 3, ["dinoatten3d"]])
def test_unknown_recipe_is_refused(name):
    with pytest.raises(ConfigError, match="unknown recipe"):
        with_recipe({"recipe": name})
