"""Evidence of slices against slow loops, controls and curves likewise, and the rule at its level."""

import numpy as np
import pytest
import torch
from made_up_explained import (
    DIM,
    STEP_MM,
    asked_of,
    bags_of,
    bundle_of,
    folded,
    knowing_state,
    member,
    names,
    planted,
)
from scipy import stats

from aggregate.bags.bags import Bags
from aggregate.common.signed_times import events_of
from aggregate.explain.controls import centre_map, donors, handed_on
from aggregate.explain.deletion import SHARES, area, curves, places
from aggregate.explain.explain import explain_bags
from aggregate.explain.looking import Onlooker
from aggregate.explain.methods.attention import AttentionMap
from aggregate.explain.methods.gradients import TokenGradients
from aggregate.explain.methods.leave_out import LeaveOut, SwapTypical
from aggregate.explain.methods.registry import USUAL_METHODS, read_methods
from aggregate.explain.stability import spearman
from aggregate.explain.typical import BAND_MM, bands_of, height_sums
from aggregate.explain.verdict import FEWEST, LEVEL, difference, judge, weights_of
from aggregate.explain.view import View, precise, view_of
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.heads.mst import MstSpec
from aggregate.statistics.survival import martingale_residuals
from aggregate.targets.question import Question, class_questions
from aggregate.targets.registry import task_named
from cache_schema.common.errors import ConfigError, SlicecacheError

LENGTHS = [1, 3, 7, 4]
HEADS = [AttentionSpec(hidden=4), AttentionSpec(embedding=(3,)), MeanSpec(), MstSpec(heads=1)]


def seen(spec, lengths=LENGTHS, classes=3, typical=False) -> tuple[View, tuple[Question, ...]]:
    """A member's view in float64, and a question per class."""
    bags = bags_of(lengths)
    bundle = bundle_of([member("m", [])], spec, classes)
    head = bundle.head()
    drawn = torch.randn((*bags.keep.shape, DIM), generator=torch.Generator().manual_seed(1))
    view = view_of(head, precise(head, bundle.states[0]), bags, drawn if typical else None)
    return view, class_questions(bundle.card.classes, np.arange(len(lengths)) % 3.0)


def alone(view: View, bag: int, kept: list[int], x: torch.Tensor | None = None) -> np.ndarray:
    """Outputs of one bag of these slices and no others, made anew without pads."""
    tokens = view.bags.x if x is None else x
    one = (tokens[bag : bag + 1, kept], torch.ones((1, len(kept)), dtype=torch.bool))
    return view.head(view.parameters, *one, view.bags.height_mm[bag : bag + 1, kept]).logits[0, 0].numpy()


@pytest.mark.parametrize("window", [0.0, 7.0])
@pytest.mark.parametrize("spec", HEADS, ids=lambda spec: f"{spec.kind}{spec.embedding}")
def test_leaving_out_is_a_slow_loop(spec, window) -> None:
    view, questions = seen(spec)
    found = LeaveOut(window_mm=window).evidence(view, questions)
    for bag, length in enumerate(LENGTHS):
        for place in range(length):
            near = {j for j in range(length) if abs(j - place) * STEP_MM <= window / 2}
            rest = [j for j in range(length) if j not in near] or list(range(length))
            gone = alone(view, bag, list(range(length))) - alone(view, bag, rest)
            wanted = [question.weights @ gone for question in questions]
            np.testing.assert_allclose(found[:, bag, place], wanted, rtol=0, atol=1e-12)


def test_a_window_without_neighbours_is_left_out_and_a_slice_is_not() -> None:
    view, _ = seen(AttentionSpec(hidden=4), typical=True)
    for kind in (LeaveOut, SwapTypical):
        assert kind().reason(view) == ""
        assert kind(window_mm=2 * STEP_MM).reason(view) == ""
        assert "no slice has a neighbour" in kind(window_mm=1.9 * STEP_MM).reason(view)


@pytest.mark.parametrize("window", [0.0, 7.0])
def test_swapping_is_a_slow_loop(window) -> None:
    view, questions = seen(AttentionSpec(hidden=4), typical=True)
    found = SwapTypical(window_mm=window).evidence(view, questions)
    for bag, length in enumerate(LENGTHS):
        for place in range(length):
            x = view.bags.x.clone()
            for j in range(length):
                if abs(j - place) * STEP_MM <= window / 2:
                    x[bag, j] = view.typical[bag, j]
            every = list(range(length))
            gone = alone(view, bag, every) - alone(view, bag, every, x)
            wanted = [question.weights @ gone for question in questions]
            np.testing.assert_allclose(found[:, bag, place], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", HEADS, ids=lambda spec: f"{spec.kind}{spec.embedding}")
def test_gradients_are_complete(spec) -> None:
    view, questions = seen(spec, typical=True)
    found = np.where(view.keep.numpy(), TokenGradients(steps=200).evidence(view, questions), 0)
    change = (view.outputs() - view.outputs(x=view.typical)).numpy()
    wanted = np.stack([change @ question.weights for question in questions])
    smooth = not spec.embedding and spec.kind != "mst"  # a rectifier's slope jumps between two points
    np.testing.assert_allclose(found.sum(2), wanted, rtol=0, atol=1e-6 if smooth else 0.02 * wanted.max())


def test_gradients_of_a_mean_are_its_weights() -> None:
    view, questions = seen(MeanSpec(), typical=True)
    found = TokenGradients(steps=1).evidence(view, questions)
    weight = view.parameters["classifier.weight"][0] * view.parameters["input.scale"][0]
    for bag, length in enumerate(LENGTHS):
        way = (view.bags.x[bag] - view.typical[bag])[:length]
        each = (way @ weight.T / length).numpy()
        wanted = np.stack([each @ question.weights for question in questions])
        np.testing.assert_allclose(found[:, bag, :length], wanted, rtol=0, atol=1e-12)


def test_attention_is_the_heads_own_and_even_attention_says_nothing() -> None:
    view, questions = seen(AttentionSpec(hidden=4), [3, 7])
    found = AttentionMap().evidence(view, questions)
    np.testing.assert_array_equal(found[0], view.said().attention[0].numpy())
    np.testing.assert_array_equal(found[1], found[0])
    assert AttentionMap().reason(view) == ""
    assert "alike" in AttentionMap().reason(seen(MeanSpec(), [3, 7])[0])


def test_the_typical_slice_is_the_mean_of_its_band() -> None:
    bags = bags_of([5, 9, 7], seed=4)
    sums = height_sums(bags, np.arange(3), bands_of(bags)).without(
        height_sums(bags, np.array([1]), bands_of(bags))
    )
    tokens = {}
    for bag in (0, 2):
        for j in np.flatnonzero(bags.keep[bag].numpy()):
            band = int(bags.height_mm[bag, j] // BAND_MM)
            tokens.setdefault(band, []).append(bags.x[bag, j].numpy().astype(float))
    middles = torch.tensor([[(band + 0.5) * BAND_MM for band in sorted(tokens)]])
    wanted = np.stack([np.mean(tokens[band], axis=0) for band in sorted(tokens)])
    np.testing.assert_allclose(sums.at(middles)[0].numpy(), wanted, rtol=0, atol=1e-12)
    low, high = sorted(tokens)[:2]
    between = torch.tensor([[(low + 0.75) * BAND_MM + (high - low - 1) * BAND_MM / 4]])
    share = (float(between) / BAND_MM - low - 0.5) / (high - low)
    line = (1 - share) * wanted[0] + share * wanted[1]
    np.testing.assert_allclose(sums.at(between)[0, 0].numpy(), line, rtol=0, atol=1e-12)
    np.testing.assert_allclose(sums.at(torch.tensor([[500.0]]))[0, 0].numpy(), wanted[-1], atol=1e-12)


def test_a_members_typical_slice_is_of_whom_it_saw() -> None:
    bags, y, _ = planted(9, 2)
    bundle = folded(9, 3)
    onlooker = Onlooker(asked_of(bundle, bags, y, [SwapTypical()]), bundle.head())
    before = onlooker.typical(1).at(bags.height_mm).clone()
    bags.x[1::3] += 100  # those that member 1 did not see
    onlooker = Onlooker(asked_of(bundle, bags, y, [SwapTypical()]), bundle.head())
    np.testing.assert_allclose(onlooker.typical(1).at(bags.height_mm), before, rtol=0, atol=1e-9)
    assert float((onlooker.typical(0).at(bags.height_mm) - before).abs().max()) > 1


def test_places_go_down_and_equal_ones_are_drawn() -> None:
    evidence = np.array([[[0.5, 2.0, -1.0, np.nan, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0]]])
    keep = np.array([[True, True, True, True, False], [True] * 5])
    found = [places(evidence, keep, np.random.default_rng(seed)) for seed in range(40)]
    assert all(list(one[0, 0]) == [1, 0, 2, 3, 4] for one in found)
    assert all(sorted(one[0, 1]) == [0, 1, 2, 3, 4] for one in found)
    assert {int(one[0, 1].argmin()) for one in found} == set(range(5))


@pytest.mark.parametrize("way", ["deletion", "insertion"])
@pytest.mark.parametrize("one_map", [True, False])
def test_curves_are_slow_loops(way, one_map) -> None:
    lengths = [1, 9, 12, 11]
    view, questions = seen(AttentionSpec(hidden=4), lengths)
    evidence = np.random.default_rng(0).normal(size=(3, *view.keep.shape))
    evidence[1:] = evidence[:1] if one_map else evidence[1:]
    place = places(evidence, view.keep.numpy(), np.random.default_rng(1))
    found = curves(view, place, questions, way, one_map)
    for asked, question in enumerate(questions):
        for bag, length in enumerate(lengths):
            down = sorted(range(length), key=lambda j: -evidence[asked, bag, j])
            for at, share in enumerate(SHARES):
                count = round(share * length)
                left = down[min(count, length - 1) :] if way == "deletion" else down[: max(count, 1)]
                score = question.weights @ alone(view, bag, sorted(left))
                assert found[asked, bag, at] == pytest.approx(score, abs=1e-12)


def test_an_area_is_the_mean_height() -> None:
    assert area(np.full((2, len(SHARES)), 3.0)) == pytest.approx([3, 3])
    assert area(np.array(SHARES)) == pytest.approx(SHARES[-1] / 2)


def test_controls_know_nothing_of_the_volume() -> None:
    bags = bags_of([7, 4])
    centre = centre_map(bags)
    assert list(centre[0].argsort()[::-1][:1]) == [3]
    assert centre[0, 0] == pytest.approx(centre[0, 6])
    people = ["a", "a", "b", "c", "d"]
    rows = np.array([0, 1, 2, 3, 4])
    found = donors(people, rows, 3)
    assert all(people[giver] != people[row] for row, giver in found.items())
    assert len({people[giver] for giver in found.values()}) == 4
    assert donors(["a", "a"], np.array([0, 1]), 0) == {}


def test_a_map_is_handed_on_by_height() -> None:
    given = handed_on(
        np.array([[1.0, 3.0, 9.0]]),
        np.array([8.0, 4.0, 0.0]),
        np.array([True, True, False]),
        np.array([9.0, 6.0, 5.0, 1.0, 0.0]),
        np.array([True, True, True, True, False]),
    )
    np.testing.assert_allclose(given, [[1.0, 2.0, 2.5, 3.0, 0.0]])


def question(truth, of="class") -> Question:
    return Question("b", np.array([-1.0, 1.0]), np.asarray(truth, dtype=float), of)


def test_the_difference_is_of_class_means_with_welchs_error() -> None:
    generator = np.random.default_rng(5)
    truth = np.arange(25) % 3 == 0
    gain = generator.normal(size=25) + truth
    found = difference(gain[None], [question(truth)], np.arange(25), 1.0)
    welch = stats.ttest_ind(gain[truth], gain[~truth], equal_var=False)
    assert found.value == pytest.approx(gain[truth].mean() - gain[~truth].mean())
    assert found.p == pytest.approx(stats.t.sf(welch.statistic, 23))
    wider = difference(gain[None], [question(truth)], np.arange(25), 2.25)
    assert wider.value - wider.low == pytest.approx(1.5 * (found.value - found.low))


def test_what_everybody_gains_alike_tells_nothing() -> None:
    for asked in (question(np.arange(30) % 5 == 0), question(np.arange(30.0), "number")):
        weights = weights_of(asked, np.arange(30))
        assert weights.sum() == pytest.approx(0)
        assert difference(np.full((1, 30), 7.0), [asked], np.arange(30), 1.0).value == pytest.approx(0)


def test_few_of_a_class_are_not_judged() -> None:
    gain = np.random.default_rng(0).normal(size=(1, 20))
    found = difference(gain, [question(np.arange(20) < FEWEST - 1)], np.arange(20), 1.0)
    assert np.isnan(found.p)
    areas = {"m": {"own": gain, "centre_gaussian": gain + 9}}
    judged = judge(areas, [question(np.arange(20) < 2)], np.arange(20), None)["m"]
    assert not judged.interpretable
    assert "too few" in judged.reason


@pytest.mark.parametrize("of", ["class", "number"])
def test_the_rule_holds_its_level_where_labels_say_nothing(of) -> None:
    """Gains that everybody has, of any size and skew, with labels drawn anew."""
    generator = np.random.default_rng(11)
    rejected = 0
    for _ in range(1500):
        truth = generator.permutation(np.arange(40) % 4 == 0) if of == "class" else generator.normal(size=40)
        gain = generator.exponential(size=(1, 40)) + 3
        rejected += difference(gain, [question(truth, of)], np.arange(40), 1.0).p < LEVEL
    assert 0.02 < rejected / 1500 < 0.085


def test_a_method_must_beat_every_control_and_holm() -> None:
    generator = np.random.default_rng(2)
    truth = np.arange(40) % 2 == 0
    noise = generator.normal(size=(4, 1, 40))
    own = noise[0] * 0.1
    better = own + truth + noise[1] * 0.1
    areas = {
        "all": {"own": own, "centre_gaussian": better, "random_head": better, "another_participant": better},
        "two": {
            "own": own,
            "centre_gaussian": better,
            "random_head": better,
            "another_participant": own + noise[2],
        },
    }
    found = judge(areas, [question(truth)], np.arange(40), 32.0)
    assert found["all"].interpretable
    assert found["all"].p_holm == pytest.approx(2 * found["all"].p)
    assert not found["two"].interpretable
    assert "another participant's map" in found["two"].reason
    assert "centre" not in found["two"].reason


def test_planted_slices_are_found_and_believed() -> None:
    bags, y, where = planted(60, 7)
    methods = [LeaveOut(), SwapTypical(), TokenGradients(steps=4), AttentionMap()]
    found = explain_bags(asked_of(folded(60, 5, [knowing_state()] * 5), bags, y, methods))
    for method in methods:
        hits = [
            one.own[method.name][0, at].argmax() == where[bag]
            for one in found.looked
            for at, bag in enumerate(one.rows.tolist())
            if y[bag]
        ]
        assert len(hits) == 30
        assert np.mean(hits) > 0.9, method
        curve = found.separations(method.name, "deletion")
        assert curve["own"][0] == pytest.approx(curve["centre_gaussian"][0])
        assert curve["own"][3] < 0.5 * curve["centre_gaussian"][3]
    assert found.judgements["attention"].interpretable


def test_the_same_heads_are_not_believed_where_labels_say_nothing() -> None:
    bags, y, _ = planted(60, 7)
    drawn = np.random.default_rng(1).permutation(y)
    found = explain_bags(
        asked_of(folded(60, 5, [knowing_state()] * 5), bags, drawn, [LeaveOut(), AttentionMap()])
    )
    assert not any(judged.interpretable for judged in found.judgements.values())


def test_nobody_is_explained_by_a_member_that_saw_them() -> None:
    bags, y, _ = planted(12, 3)
    asked = asked_of(folded(12, 3), bags, y, [LeaveOut()])
    found = explain_bags(asked)
    for one in found.looked:
        assert not {names(12)[row] for row in one.rows} & set(
            asked.bundle.card.members[one.member].participants
        )
    assert sorted(row for one in found.looked for row in one.rows.tolist()) == list(range(12))
    everybody = bundle_of([member("m", names(12))])
    with pytest.raises(SlicecacheError, match="every member"):
        explain_bags(asked_of(everybody, bags, y, [LeaveOut()]))


def test_results_do_not_hang_on_how_many_are_looked_at_together(monkeypatch) -> None:
    bags, y, _ = planted(12, 3)
    asked = asked_of(folded(12, 3), bags, y, [SwapTypical(), AttentionMap()])
    whole = explain_bags(asked)
    for place in ("looking", "deleting", "explain"):
        monkeypatch.setattr(f"aggregate.explain.{place}.BLOCK", 3)
    parts = explain_bags(asked)
    for one, other in zip(whole.looked, parts.looked, strict=True):
        np.testing.assert_allclose(one.own["typical"], other.own["typical"], rtol=0, atol=1e-12)
    own = [found.curves["typical"]["own"]["deletion"] for found in (whole, parts)]
    np.testing.assert_allclose(own[0], own[1], rtol=0, atol=1e-12)


def test_stability_is_between_members_that_did_not_see_them() -> None:
    bags, y, _ = planted(12, 3)
    people = names(12)
    members = [
        member(f"r{repeat}-f{fold}-s{seed}", people[6:] if fold else people[:6], repeat, fold, seed)
        for repeat in range(2)
        for fold in range(2)
        for seed in range(2)
    ]
    found = explain_bags(asked_of(bundle_of(members), bags, y, [LeaveOut()]))
    assert not found.stability_saw
    assert set(found.stability["leave_out"]) == {"folds", "seeds"}
    one = explain_bags(asked_of(folded(12, 3), bags, y, [LeaveOut()]))
    assert one.stability_saw
    assert one.stability["leave_out"]["folds"].volumes == 12
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.isnan(spearman(a, np.ones(9)))


def test_sessions_of_a_participant_count_as_one() -> None:
    bags, y, _ = planted(12, 3)
    asked = asked_of(folded(6, 3), bags, y, [LeaveOut()])
    object.__setattr__(asked, "participants", [names(6)[row // 2] for row in range(12)])
    asked.questions[0].truth[:] = np.arange(12) // 2 % 2
    found = explain_bags(asked)
    assert found.persons == tuple(names(6))
    assert list(found.questions[0].truth) == [0, 1, 0, 1, 0, 1]


def test_questions_of_every_kind_of_target() -> None:
    y = np.array([[0.0], [1.0], [2.0], [1.0]])
    two = task_named("classification", ("a", "b")).questions("DX", np.minimum(y, 1), 2)
    assert [one.name for one in two] == ["b"]
    assert list(two[0].weights) == [-1, 1]
    three = task_named("classification", ("a", "b", "c")).questions("DX", y, 3)
    assert [list(one.weights) for one in three][1] == [-0.5, 1, -0.5]
    assert [list(one.truth) for one in three][2] == [0, 0, 1, 0]
    steps = task_named("ordinal", ("a", "b", "c")).questions("grade", y, 2)
    assert list(steps[0].weights) == [0.5, 0.5]
    logits = task_named("ordinal", ("a", "b", "c")).questions("grade", y, 3)
    assert list(logits[0].weights) == [-0.5, 0, 0.5]
    age = task_named("regression", ()).questions("age", y, 1)
    assert (age[0].name, list(age[0].truth)) == ("higher age", [0, 1, 2, 1])
    times = np.array([5.0, -7, 3, -2, 9])
    risk = task_named("survival", ()).questions("months", times[:, None], 1)
    np.testing.assert_allclose(risk[0].truth, martingale_residuals(times))


def test_martingale_residuals_are_events_less_expected() -> None:
    times = np.array([5.0, -7, 3, -2, 9, 5, -5])
    found = martingale_residuals(times)
    assert found.sum() == pytest.approx(0)
    hazard = {3.0: 1 / 6, 5.0: 2 / 5, 9.0: 1.0}
    for signed, residual in zip(times, found, strict=True):
        expected = sum(step for at, step in hazard.items() if at <= abs(signed))
        assert residual == pytest.approx(float(events_of(np.array([signed]))[0]) - expected)


def test_methods_are_read_with_options_and_refused_in_a_sentence() -> None:
    assert read_methods([]) == USUAL_METHODS
    given = read_methods(["attention", "{kind: leave_out, window_mm: 12}"])
    assert [method.name for method in given] == ["attention", "leave_out_12mm"]
    for text, says in (
        ("atention", "did you mean 'attention'"),
        ("{kind: leave_out, window: 3}", "window_mm"),
        ("{kind: leave_out, window_mm: -1}", "window_mm"),
        ("[1, 2]", "there is no"),
        ("{", "there is no"),
    ):
        with pytest.raises(ConfigError, match=says):
            read_methods([text])
    with pytest.raises(ConfigError, match="twice"):
        read_methods(["attention", "attention"])


def test_lengths_of_bags_do_not_mix() -> None:
    """A short bag's map is what it is alone."""
    view, questions = seen(AttentionSpec(hidden=4), [9, 4], typical=True)
    short = Bags(view.bags.x[1:, :4], view.bags.keep[1:, :4], view.bags.height_mm[1:, :4])
    own = View(view.head, view.parameters, short, view.typical[1:, :4])
    for method in USUAL_METHODS:
        one, both = method.evidence(own, questions), method.evidence(view, questions)
        np.testing.assert_allclose(one[:, 0], both[:, 1, :4], rtol=0, atol=1e-12)
