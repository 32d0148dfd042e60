"""What a pipeline's section says of its cohort table: all that it takes to find the rows of volumes."""

from typing import Annotated

from pydantic import BeforeValidator

from aggregate.cohort.request import CohortRequest
from aggregate.cohort.table.join_spec import JoinSpec, Locate
from aggregate.cohort.table.stack import CohortTables, located_tables
from aggregate.common.labels import Label, read_many
from cache_schema.common.strict import Strict


class TableKeys(Strict):
    """The cohort table, and how its rows find volumes."""

    cohort: CohortTables
    """CSV, TSV, .xlsx or Parquet with a row per participant, or per session; or several such tables, whose
    rows are put one below another, as `[north.csv, {table: south.xlsx, join: {participant: PTID}}]`, e.g.
    `participants.tsv`."""
    sheet: str | None = None
    """Of a workbook that has several, e.g. `baseline`."""
    where: str | None = None
    """Condition on the table's columns, e.g. `qc == 'pass' and age >= 55`."""
    missing: Annotated[tuple[Label, ...], BeforeValidator(read_many)] = ()
    """Codes that mean missing in every column of the table, e.g. `[-4, -1]`."""
    join: JoinSpec = JoinSpec()
    """How rows of the table find volumes of the store, e.g. `{participant: PTID, session: VISCODE}`."""

    def table_request(self, locate: Locate) -> CohortRequest:
        """Rows and their volumes, with paths made absolute; everything else of a cohort is as by default."""
        return CohortRequest(
            table=located_tables(self.cohort, locate),
            sheet=self.sheet,
            where=self.where,
            missing=self.missing,
            join=self.join.located(locate),
        )
