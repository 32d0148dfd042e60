"""The MST head and its AdamW against five steps of the released fusion (`tests/data/parity`)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aggregate.heads.mst import MstSpec
from aggregate.training.steps.adam import StackedAdam
from aggregate.training.steps.adamw import StackedAdamW

pytestmark = pytest.mark.numerics

PARITY = Path(__file__).parents[1] / "data" / "parity" / "mst.npz"
LAYER = "slice_fusion.layers.0"
NAMES = {
    "mst.token.cls": "cls_token",
    "mst.token.positions": "slice_pos_emb.weight",
    "mst.norm_attention": f"{LAYER}.norm1",
    "mst.output": f"{LAYER}.self_attn.out_proj",
    "mst.norm_feed": f"{LAYER}.norm2",
    "mst.feed.0": f"{LAYER}.linear1",
    "mst.feed.1": f"{LAYER}.linear2",
    "mst.norm_final": "slice_fusion.norm",
    "classifier": "linear",
}
RATE, DECAY = 1e-3, 1e-2


class Released:
    """One of the recorded trainings."""

    def __init__(self, positions: str) -> None:
        with np.load(PARITY, allow_pickle=False) as found:
            begin = f"t_{positions}_"
            self.arrays = {k.removeprefix(begin): found[k] for k in found.files if k.startswith(begin)}
        dim = self.arrays["tokens"].shape[3]
        self.head = MstSpec(positions=positions).build(dim, 2)

    def state(self, when: str) -> dict[str, torch.Tensor]:
        """Weights under our names, in float64, of one run."""
        return {name: self._named(name, when).unsqueeze(0) for name in self.head.shapes}

    def _named(self, name: str, when: str) -> torch.Tensor:
        thirds = {"query": 0, "key": 1, "value": 2}
        part, _, kind = name.rpartition(".")
        third = thirds.get(part.removeprefix("mst."))
        if third is not None:
            whole = self.arrays[f"{when}_{LAYER}.self_attn.in_proj_{kind}"]
            own = whole.reshape(3, -1, *whole.shape[1:])[third]
        else:
            theirs = NAMES.get(name) or f"{NAMES[part]}.{kind}"
            own = self.arrays[f"{when}_{theirs}"]
        own = own.squeeze((0, 1)) if name == "mst.token.cls" else own
        if name == "mst.token.positions":  # of 256 rows those that are used
            rows = np.zeros(self.head.shapes[name])
            rows[: len(own)] = own
            own = rows
        return torch.from_numpy(own).double()

    def bags(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = torch.from_numpy(self.arrays["tokens"][step]).double()
        return x, torch.from_numpy(self.arrays["keep"][step]), torch.zeros(x.shape[:2], dtype=x.dtype)

    def train(self, optimiser: type[StackedAdam]) -> tuple[dict[str, torch.Tensor], list[float]]:
        """Five steps from the recorded start: the weights, and the loss before every step."""
        parameters = self.state("f32_start")
        adam, losses = optimiser(parameters, [RATE], [DECAY]), []
        for step, labels in enumerate(self.arrays["labels"]):
            leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
            logits = self.head(leaves, *self.bags(step)).logits[0]
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
            loss.backward()
            losses.append(float(loss.detach()))
            adam.step({name: leaf.grad for name, leaf in leaves.items()})
        return parameters, losses


@pytest.mark.parametrize("positions", ["none", "learned", "rotary"])
def test_five_steps_are_the_released_ones(positions):
    released = Released(positions)
    found, losses = released.train(StackedAdamW)
    np.testing.assert_allclose(losses, released.arrays["f64_loss"], rtol=0, atol=1e-12)
    if positions != "rotary":  # of which four rows are recorded
        for name, wanted in released.state("f64_step5").items():
            rows = 12 if name.endswith("positions") else None
            own, wanted = (value[0][:rows] for value in (found[name], wanted))
            torch.testing.assert_close(own, wanted, rtol=0, atol=1e-11, msg=name)
    output = released.head(found, *released.bags(0))
    for name, ours in (("logits", output.logits), ("pooled", output.embedding)):
        np.testing.assert_allclose(ours[0].numpy(), released.arrays[f"f64_{name}"], rtol=0, atol=1e-11)
    wanted = released.arrays["f64_slice_attention"]
    np.testing.assert_allclose(output.attention[0].numpy(), wanted, rtol=0, atol=1e-11)


def test_an_l2_term_in_the_gradient_would_be_seen():
    released = Released("none")
    losses = released.train(StackedAdam)[1]
    assert np.abs(np.array(losses) - released.arrays["f64_loss"]).max() > 5e-4
