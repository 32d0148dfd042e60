"""What a pipeline file may say about training."""

from typing import Literal

from pydantic import Field, PositiveInt

from cache_schema.common.strict import Strict


class TrainSpec(Strict):
    """How one run is trained."""

    epochs: PositiveInt = 100
    """The most epochs; all of them when nothing stops the run early."""
    batch_size: PositiveInt = 16
    """Bags per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 term added to the gradient, as `torch.optim.Adam` has it."""
    patience: PositiveInt | None = 20
    """Stop after so many epochs without a lower validation cross-entropy, and keep the best weights;
    null trains all epochs and keeps the last weights."""
    optimiser: Literal["adam"] = "adam"
    class_balanced: bool | Literal["auto"] = "auto"
    """Equal shares of the classes in each batch; `auto`: when the loss has `supcon` above 0."""
