"""What a pipeline file may say under `aggregate.external`, and the command `evaluate` by its options."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from aggregate.cohort.request import CohortRequest
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.join import JoinSpec
from aggregate.cohort.table.target import TargetSpec
from aggregate.common.labels import Label, read_column, read_many
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.strict import Strict


class ExternalSpec(Strict):
    """Another cohort, in a store of its own.

    Nothing of the training's `where`, `join` or `select` is taken over: another table has other columns.
    """

    store: str
    """A folder, a zip, an `.h5` or a URL, with the training's fingerprint."""
    cohort: Path
    """CSV or TSV with the labels."""
    target: Annotated[TargetSpec | None, BeforeValidator(read_column)] = None
    """By default the training's. Classes are the training's, whatever values stand for them here."""
    where: str | None = None
    missing: Annotated[tuple[Label, ...], BeforeValidator(read_many)] = ()
    join: JoinSpec = JoinSpec()
    sessions: str = "first"
    select: SelectSpec = SelectSpec()
    combine: Literal["concat", "mean"] | None = None
    own_ids: bool = False
    """This cohort counts its participants for itself, so that its `sub-01` is not the training's. Without
    it a shared id is refused; volumes of equal content always are."""

    def placed(self, pipeline: Pipeline) -> "ExternalSpec":
        """With paths made absolute."""
        store = self.store if "://" in self.store else str(pipeline.path(self.store))
        return self.model_copy(update={"store": store, "cohort": pipeline.path(self.cohort)})

    def request(self, target: TargetSpec) -> CohortRequest:
        """What the cohort is made of."""
        return CohortRequest(
            table=self.cohort,
            where=self.where,
            missing=self.missing,
            join=self.join,
            sessions=self.sessions,
            select=self.select,
            combine=self.combine,
            target=target,
        )
