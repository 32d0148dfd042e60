"""One detector on trial: what several of its laws need, made once."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from aggregate.anomaly.detectors.base import Detector, DetectorBase, SliceBatch
from aggregate.testing.slices import fitted_to, normal_slices, planted


@dataclass(frozen=True)
class Trial:
    """One detector on made-up slices; what several laws need is made once."""

    spec: DetectorBase
    seed: int

    @cached_property
    def reference(self) -> SliceBatch:
        """Normal slices to fit on."""
        return normal_slices([9, 7, 11, 4, 9, 8])

    @cached_property
    def held_out(self) -> SliceBatch:
        """Normal slices to choose an epoch by."""
        return normal_slices([6, 5], first=30)

    @cached_property
    def queries(self) -> SliceBatch:
        """Slices of other volumes, with odd tokens planted in them."""
        return planted(self.normal)

    @cached_property
    def normal(self) -> SliceBatch:
        """The same slices as they were before."""
        return normal_slices([9, 5], first=50)

    @cached_property
    def detector(self) -> Detector:
        """Fitted."""
        return self.fit()

    @cached_property
    def scores(self) -> Tensor:
        """Of the queries, all in one batch."""
        return self.detector.score(self.queries)

    def fit(self, order: int = 0) -> Detector:
        """Fit another one."""
        return fitted_to(self.spec, self.seed, self.reference, self.held_out, order)
