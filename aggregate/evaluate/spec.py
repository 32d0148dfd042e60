"""What a pipeline file may say under `aggregate.external`, and the command `evaluate` by its options."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from aggregate.bags.token_names import StoreName
from aggregate.cohort.request import CohortRequest, Combine
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.task import TargetBase
from aggregate.common.labels import Label, read_many
from aggregate.targets.registry import TargetSpec
from cache_schema.common.pipeline_file import Pipeline
from cache_schema.common.strict import Strict


class ExternalSpec(Strict):
    """Another cohort, in a store of its own.

    Nothing of the training's `where` or `join` is taken over: another table has other columns.
    """

    store: str
    """A folder, a zip, an `.h5` or a URL, with the training's fingerprint."""
    cohort: Path
    """CSV, TSV, .xlsx or Parquet with the labels."""
    sheet: str | None = None
    """Of a workbook that has several."""
    stores: dict[StoreName, str] = Field(default_factory=dict)
    """Other stores of its volumes, by the names that the bundle knows them by."""
    target: TargetSpec | None = None
    """By default the training's. Classes are the training's, whatever values stand for them here."""
    where: str | None = None
    missing: Annotated[tuple[Label, ...], BeforeValidator(read_many)] = ()
    join: JoinSpec = JoinSpec()
    sessions: str = "first"
    select: SelectSpec | None = None
    """By default the training's, as it is kept in the bundle."""
    combine: Literal["concat", "mean"] | None = None
    """Likewise."""
    own_ids: bool = False
    """This cohort counts its participants for itself, so that its `sub-01` is not the training's. Without
    it a shared id is refused; volumes of equal content always are."""

    def placed(self, pipeline: Pipeline) -> "ExternalSpec":
        """With paths made absolute."""
        changes = {
            "store": pipeline.location(self.store),
            "stores": {name: pipeline.location(value) for name, value in self.stores.items()},
            "cohort": pipeline.path(self.cohort),
            "join": self.join.located(pipeline.path),
        }
        return self.model_copy(update=changes)

    def request(self, target: TargetBase, select: SelectSpec, combine: Combine | None) -> CohortRequest:
        """What the cohort is made of.

        Args:
            target: With every class written out.
            select: The training's.
            combine: The training's.
        """
        return CohortRequest(
            table=self.cohort,
            sheet=self.sheet,
            where=self.where,
            missing=self.missing,
            join=self.join,
            sessions=self.sessions,
            select=select if self.select is None else self.select,
            combine=self.combine or combine,
            target=target,
        )
