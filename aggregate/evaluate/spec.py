"""What a pipeline file may say under `aggregate.external`, and the command `evaluate` by its options."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from aggregate.bags.token_names import StoreName
from aggregate.cohort.request import CohortRequest, Combine
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.join_spec import JoinSpec
from aggregate.cohort.table.stack import CohortTables, located_tables
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
    """A folder, a zip, an `.h5` or a URL, with the training's fingerprint, e.g. `runs/other/cache.zarr`."""
    cohort: CohortTables
    """CSV, TSV, .xlsx or Parquet with the labels, or several as of a training, e.g. `other.csv`."""
    sheet: str | None = None
    """Of a workbook that has several, e.g. `baseline`."""
    stores: dict[StoreName, str] = Field(default_factory=dict)
    """Other stores of its volumes, by the names that the bundle knows them by, e.g.
    `{large: runs/other/large.zarr}`."""
    target: TargetSpec | None = None
    """By default the training's. Classes are the training's, whatever values stand for them here, e.g.
    `{column: DX, classes: {CN: [CN], AD: [AD]}}`."""
    where: str | None = None
    """Condition on its table's columns, e.g. `age >= 55`."""
    missing: Annotated[tuple[Label, ...], BeforeValidator(read_many)] = ()
    """Codes that mean missing in every column of its table, e.g. `[-4, -1]`."""
    join: JoinSpec = JoinSpec()
    """How rows of its table find volumes of its store, e.g. `{participant: PTID}`."""
    sessions: str = "first"
    """As `aggregate.sessions`: which sessions of a participant take part, e.g. `all`."""
    select: SelectSpec | None = None
    """By default the training's, as it is kept in the bundle, e.g. `{contrast: T1w}`."""
    combine: Literal["concat", "mean"] | None = None
    """Several volumes in a session; by default as the training had it."""
    own_ids: bool = False
    """This cohort counts its participants for itself, so that its `sub-01` is not the training's. Without
    it a shared id is refused; volumes of equal content always are."""

    def placed(self, pipeline: Pipeline) -> "ExternalSpec":
        """With paths made absolute."""
        changes = {
            "store": pipeline.location(self.store),
            "stores": {name: pipeline.location(value) for name, value in self.stores.items()},
            "cohort": located_tables(self.cohort, pipeline.path),
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
