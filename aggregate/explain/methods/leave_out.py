"""Leave a slice out, or a window of slices, and see what becomes of the score: it needs logits alone."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from aggregate.common.arrays import Floats
from aggregate.explain.methods.base import MethodBase, scored
from aggregate.explain.view import View
from aggregate.targets.question import Question


class WindowedBase(MethodBase):
    """What is done to a slice and its neighbours."""

    window_mm: float = Field(default=0.0, ge=0, le=1000)
    """Height of the window around a slice that is treated with it; 0 for the slice alone."""

    @property
    def name(self) -> str:
        """With its window."""
        return f"{self.kind}_{self.window_mm:g}mm" if self.window_mm else self.kind

    def reason(self, view: View) -> str:
        """That its window holds no neighbour of any slice, and it is what it is without one."""
        if self.window_mm and not (self.windows(view).sum(dim=2) > 1).any():
            return (
                f"no slice has a neighbour within {self.window_mm / 2:g} mm, so it would be {self.kind} again"
            )
        return ""

    def windows(self, view: View) -> Bool[Tensor, "place bag slice"]:
        """Of every place along `slice`, the window around what each bag has there."""
        height = view.bags.height_mm
        if self.window_mm:
            near = (height.T.unsqueeze(2) - height).abs() <= self.window_mm / 2
        else:
            near = torch.zeros((height.shape[1], *height.shape), dtype=torch.bool)
        near |= torch.eye(height.shape[1], dtype=torch.bool).unsqueeze(1)
        return near & view.keep & view.keep.T.unsqueeze(2)


def change(view: View, outputs: Float[Tensor, "place bag output"], questions: Sequence[Question]) -> Floats:
    """Scores as they are less those of each place's variant (question, bag, place)."""
    whole = scored(view.outputs(), questions)
    return np.asarray(whole[:, :, None] - scored(outputs, questions).transpose(0, 2, 1))


class LeaveOut(WindowedBase):
    """The score with the slice less the score without it; 0 where nothing would be left."""

    kind: Literal["leave_out"] = "leave_out"

    @property
    def words(self) -> str:
        """With its window."""
        return f"leave {f'{self.window_mm:g} mm' if self.window_mm else 'a slice'} out"

    def evidence(self, view: View, questions: Sequence[Question]) -> Floats:
        """One variant for each place along `slice`."""
        rest = view.keep & ~self.windows(view)
        rest |= view.keep & ~rest.any(dim=2, keepdim=True)
        return change(view, view.variants(rest), questions)


class SwapTypical(WindowedBase):
    """The score with the slice less the score with the typical slice of its height in its place."""

    needs_typical: ClassVar[bool] = True
    kind: Literal["typical"] = "typical"

    @property
    def words(self) -> str:
        """With its window."""
        return f"{f'{self.window_mm:g} mm' if self.window_mm else 'slice'} against the typical one"

    def evidence(self, view: View, questions: Sequence[Question]) -> Floats:
        """One variant for each place along `slice`."""
        typical, windows = view.typical, self.windows(view)
        if typical is None:
            raise ValueError("the view has no typical slices")
        own = view.x

        def swapped(part: slice) -> Tensor:
            return torch.where(windows[part].unsqueeze(3), typical, own)

        return change(view, view.variants(view.keep.expand(windows.shape), swapped), questions)
