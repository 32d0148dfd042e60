"""Class weights by label: put in the order of the logits where a loss meets its cohort."""

import numpy as np
import pytest

from aggregate.api.estimator import HeadClassifier
from aggregate.config.section import parse_section
from aggregate.losses.registry import LossSpec
from cache_schema.common.errors import ConfigError

CLASSES = ("CN", "MCI", "AD")


def loss(weights, term="cross_entropy"):
    return LossSpec.model_validate({term: {"class_weights": weights}})


@pytest.mark.parametrize("term", ["cross_entropy", "focal"])
def test_weights_by_label_follow_the_labels(term):
    said = loss({"AD": 2, "CN": 1, "MCI": 0.5}, term)
    assert LossSpec.model_validate(said.model_dump(mode="json")) == said
    assert getattr(said.in_order(CLASSES, CLASSES), term).class_weights == (1, 0.5, 2)
    assert getattr(said.in_order(("AD", "CN"), CLASSES), term).class_weights == (2, 1)


def test_a_contrast_takes_its_own_of_a_list():
    assert loss([1, 2, 3]).in_order(("AD", "MCI"), CLASSES).cross_entropy.class_weights == (3, 2)


def test_numbers_are_labels_too():
    said = loss({0: 1, 1: 4})
    assert said.in_order(("1", "0"), ("1", "0")).cross_entropy.class_weights == (4, 1)


def test_what_names_no_labels_stays_as_it_is():
    for weights in ("none", "balanced", {"beta": 0.9}):
        assert loss(weights).in_order(CLASSES, CLASSES) == loss(weights)


@pytest.mark.parametrize("weights", [{"CN": 1, "AD": 2}, {"CN": 1, "MCI": 1, "AD": 2, "FTD": 1}])
def test_weights_must_name_the_labels(weights):
    with pytest.raises(ConfigError, match="must name the classes CN, MCI"):
        loss(weights).in_order(CLASSES, CLASSES)


@pytest.mark.parametrize("weights", [{"CN": 1}, {"CN": 1, "AD": 0}, {"CN": 1, "AD": "x"}, {"CN": 1, True: 2}])
def test_what_is_no_weight_is_refused(weights):
    with pytest.raises(ConfigError, match="a number above 0 for each label"):
        parse_section({"cohort": "x", "target": "dx", "loss": {"cross_entropy": {"class_weights": weights}}})


def test_training_by_label_is_training_by_place():
    stream = np.random.default_rng(0)
    x, y = stream.normal(size=(24, 5)), np.array(["b", "a"] * 12)
    heads = [
        HeadClassifier(
            "mean", loss={"cross_entropy": {"class_weights": weights}}, train={"start": "plain", "epochs": 3}
        ).fit(x, y)
        for weights in ({"b": 3, "a": 1}, [1, 3], [3, 1])
    ]
    by_label, by_place, other = (head.decision_function(x) for head in heads)
    np.testing.assert_array_equal(by_label, by_place)
    assert np.abs(by_label - other).max() > 1e-4
