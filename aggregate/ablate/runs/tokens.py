"""The tokens that a job is trained on and scored by: the source's, or those that its fold harmonises."""

from aggregate.ablate.grid.expand import Study
from aggregate.ablate.grid.sources import Source
from aggregate.ablate.runs.jobs import Job
from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import mean_pool
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold
from aggregate.harmonise.harmoniser import Harmoniser, harmoniser_of, make_harmoniser
from aggregate.harmonise.spec import HarmoniseSpec


class Tokens:
    """Of one source; sites are looked up once."""

    def __init__(self, source: Source, bags: Bags) -> None:
        """Give the bags of a source as its jobs want them."""
        self.cohort, self.bags = source.cohort, bags
        self._made: dict[HarmoniseSpec, Harmoniser] = {}

    def of(self, job: Job) -> Bags:
        """The bags of a job, and of all that train with it.

        Raises:
            SlicecacheError: If its fold cannot be harmonised.
        """
        if job.harmonise is None:
            return self.bags
        if job.harmonise not in self._made:
            pooled = mean_pool(self.bags)
            self._made[job.harmonise] = make_harmoniser(job.harmonise, self.cohort, pooled)
        harmoniser = self._made[job.harmonise]
        harmoniser.check([job.fold])
        return harmoniser.bags(self.bags, job.fold)


def refuse_unharmonised(study: Study, cohort: Cohort, folds: list[Fold]) -> None:
    """Say before anything is trained which configuration cannot be harmonised.

    Raises:
        ConfigError: If a column does not exist, or the target were preserved.
        SlicecacheError: If cohort or folds do not allow it.
    """
    nothing = cohort.frame[[]].to_numpy(dtype="float64")
    for spec in {c.section.harmonised for c in study.configurations}:
        harmoniser_of(spec, cohort, nothing, folds)
