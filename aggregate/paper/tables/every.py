"""All tables that a verb's folder is told in."""

from aggregate.paper.finished import Finished
from aggregate.paper.tables.ablated import ablation_tables
from aggregate.paper.tables.detected import detection_tables
from aggregate.paper.tables.explained import explanation_tables
from aggregate.paper.tables.people import cohort_tables
from aggregate.paper.tables.table import Table
from aggregate.paper.tables.trained import training_tables


def tables(run: Finished) -> list[Table]:
    """All that a verb's folder is told in."""
    own = {"ablate": ablation_tables, "detect": detection_tables, "explain": explanation_tables}
    found = own[run.verb](run) if run.verb in own else training_tables(run)
    return [*cohort_tables(run), *found]
