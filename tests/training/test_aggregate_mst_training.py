"""MST's training: its first weights, drawn bags, a stop on AUROC, and AdamW in a stack."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from aggregate.bags.bags import Bags
from aggregate.config.resolved import resolved
from aggregate.config.section import read_aggregate_section
from aggregate.heads.mst import MstSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.sampler import MOST_DRAWN, NO_ROW, drawn_batches
from aggregate.training.runs import RunSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import train_stacked
from aggregate.training.steps.adamw import StackedAdamW
from aggregate.training.steps.stopping import lost_auroc
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline

pytestmark = pytest.mark.numerics

RATES, DECAYS = [1e-3, 0.03, 0.2], [0.0, 0.1, 0.01]


def gradients(step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(3, 7, 5, dtype=torch.float64, generator=generator) * 10.0 ** (step % 5 - 3)


def test_twenty_steps_equal_torchs_adamw():
    """With a run that idles for a while, and one that is taken out."""
    start = gradients(99)
    parameters = {"weight": start.clone()}
    adam = StackedAdamW(parameters, RATES, DECAYS)
    for step in range(10):
        adam.step({"weight": gradients(step)[: 3 - step % 2]})
    index = torch.tensor([0, 2])
    parameters = {"weight": parameters["weight"][index]}
    adam.select(parameters, index)
    for step in range(10, 20):
        adam.step({"weight": gradients(step)[index]})
    for place, run in enumerate((0, 2)):
        own = start[run].clone().requires_grad_()
        optimiser = torch.optim.AdamW([own], lr=RATES[run], weight_decay=DECAYS[run])
        for step in range(20):
            if run == 2 and step < 10 and step % 2:
                continue
            own.grad = gradients(step)[run]
            optimiser.step()
        torch.testing.assert_close(parameters["weight"][place], own.detach(), rtol=0, atol=1e-12)


def test_the_auroc_that_is_watched_is_scikit_learns():
    generator = np.random.default_rng(0)
    for classes in (2, 4):
        y = np.arange(37) % classes
        logits = torch.from_numpy(generator.normal(size=(3, 37, classes)).round(1))
        found = lost_auroc(logits, torch.from_numpy(y)[None], torch.ones(1, 37, dtype=torch.bool))
        for own, lost in zip(logits.log_softmax(-1).numpy(), found, strict=True):
            labels = range(1, classes) if classes == 2 else range(classes)
            wanted = np.mean([roc_auc_score(y == label, own[:, label]) for label in labels])
            assert float(lost) == pytest.approx(1 - wanted, abs=1e-12)


def test_drawn_bags_come_as_often_of_each_class():
    labels = np.array([0] * 300 + [1] * 30)
    rows = np.arange(1000, 1330)
    drawn = [drawn_batches(rows, labels, 16, np.random.default_rng(seed)) for seed in range(20)]
    assert drawn[0].shape == (21, 16)
    kept = np.stack(drawn)
    kept = kept[kept != NO_ROW]
    assert len(kept) == 20 * 330
    # 6,600 draws of probability a half: 3,300 +- 41.
    assert abs(int((kept >= 1300).sum()) - 3300) < 4.5 * 41
    many = drawn_batches(np.arange(5000), np.arange(5000) % 2, 16, np.random.default_rng(0))
    assert int((many != NO_ROW).sum()) == MOST_DRAWN


def test_first_weights_are_drawn_as_released():
    ours, theirs = (MstSpec(draw=draw).build(384, 2) for draw in ("ours", "as_released"))
    drawn, plain = theirs.init([0]), ours.init([0])
    assert float(drawn["mst.token.cls"].std()) == pytest.approx(1, abs=0.1)
    bound = (6 / (384 + 3 * 384)) ** 0.5  # Xavier's of one layer with three times as many outputs
    for name in ("query", "key", "value"):
        assert float(drawn[f"mst.{name}.weight"].abs().max()) == pytest.approx(bound, rel=1e-3)
    for name in ("query", "value", "output"):
        assert not drawn[f"mst.{name}.bias"].any()
        assert plain[f"mst.{name}.bias"].any()
    for name in ("mst.output.weight", "mst.feed.0.bias", "classifier.weight"):
        assert torch.equal(drawn[name], plain[name])


def made_up() -> tuple[Bags, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    n, slices, dim = 23, 5, 12
    y = torch.arange(n) % 2
    keep = torch.arange(slices) < torch.randint(1, slices + 1, (n, 1), generator=generator)
    x = torch.randn(n, slices, dim, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.8 * y.unsqueeze(1)
    heights = torch.zeros(n, slices, dtype=torch.float64)
    return Bags(x * keep.unsqueeze(-1), keep, heights), y, torch.ones(n, dtype=torch.float64)


def run(train: TrainSpec, weight: float = 1.0, head: MstSpec | None = None) -> RunSpec:
    loss = LossSpec.model_validate({"cross_entropy": weight})
    order = np.random.default_rng(0).permutation(23)
    given = head or MstSpec(heads=2, draw="as_released")
    return RunSpec("it", 0, 0, 0, given, loss, train, order[:15], order[15:])


MST = TrainSpec(
    start="plain",
    epochs=30,
    batch_size=4,
    learning_rate=1e-3,
    weight_decay=0.01,
    optimiser="adamw",
    class_balanced="drawn",
    watch="auroc",
    patience=4,
)


def test_a_stop_on_auroc_keeps_the_best_epoch():
    bags, y, weight = made_up()
    trained = train_stacked(bags, y, weight, 2, [run(MST)], torch.float64)[0]
    curve = trained.history["validation_1_minus_auroc"]
    assert trained.best_epoch == 1 + int(np.argmin(curve))
    assert trained.epochs == min(30, trained.best_epoch + 4)


def test_runs_of_both_optimisers_give_what_they_give_alone():
    cohort = made_up()
    adam = MST.model_copy(update={"optimiser": "adam", "watch": "loss", "class_balanced": False})
    specs = [run(MST), run(adam), replace(run(MST, 0.5), fold=1), run(adam, 0.5)]
    together = train_stacked(*cohort, 2, specs, torch.float64)
    for spec, ours in zip(specs, together, strict=True):
        alone = train_stacked(*cohort, 2, [spec], torch.float64)[0]
        assert (ours.epochs, ours.history.keys()) == (alone.epochs, alone.history.keys())
        for name, value in ours.state.items():
            torch.testing.assert_close(value, alone.state[name], rtol=0, atol=1e-10)
    assert not torch.equal(together[0].state["mst.token.cls"], together[1].state["mst.token.cls"])


def test_what_is_for_classes_is_refused_elsewhere():
    bags, y, weight = made_up()
    one = replace(run(MST), validation_rows=np.flatnonzero(y.numpy() == 1)[:3])
    with pytest.raises(ConfigError, match=r"3 validation bag.*have 1 of 2 classes; set train.watch: loss"):
        train_stacked(bags, y, weight, 2, [one])


def test_a_written_configuration_trains_the_same_again(tmp_path):
    """What a person sets back to the usual is said in `config.yaml`, or the recipe would set it again."""
    raw = {
        "run": {"folder": "run"},
        "cache": {"store": "cache.zarr"},
        "aggregate": {
            "cohort": "table.csv",
            "target": "diagnosis",
            "recipe": "mst",
            "head": {"draw": "ours"},
        },
    }
    pipeline = Pipeline(raw, tmp_path)
    section = read_aggregate_section(pipeline)
    written = Pipeline(resolved(pipeline, section), tmp_path)
    assert read_aggregate_section(written).head == section.head
    assert section.head.draw == "ours"
