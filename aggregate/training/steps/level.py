"""Outputs of which only differences mean something, such as log hazards: what 0 is, is said at the end."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from aggregate.common.arrays import Floats
from aggregate.heads.base import Head
from aggregate.training.feeding.inputs import Inputs
from aggregate.training.runs import RunSpec
from aggregate.training.solving.goal import Goal
from aggregate.training.steps.start import BIAS


@torch.no_grad()
def without_level(
    goal: Goal, head: Head, state: Mapping[str, Tensor], inputs: Inputs, span: slice, run: RunSpec
) -> dict[str, Tensor]:
    """A run's weights, its goal's level on its training bags taken off.

    Args:
        goal: Says the level; None where outputs have one of their own.
        head: Of the run.
        state: Its weights, as they are applied.
        inputs: Give pooled vectors.
        span: Its place among the runs of these.
        run: Names its training bags.
    """
    own = {name: value.unsqueeze(0).to(inputs.device) for name, value in state.items()}

    def outputs() -> Floats:
        parts = torch.from_numpy(run.train_rows).to(inputs.device).split(run.training.batch_size)
        pooled = [inputs.pooled(head, own, span, part) for part in parts]
        said = torch.cat([head.read_out(own, vectors).logits[0] for vectors in pooled])
        return np.asarray(said.double().cpu().numpy(), dtype=np.float64)

    level = goal.level(outputs)
    return dict(state) if level is None else {**state, BIAS: state[BIAS] - level}
