"""Everything that is looked for before a training, so that nobody waits for what should not be believed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats, Ints
from aggregate.shortcuts.copies import refuse_copies
from aggregate.shortcuts.site import look_at_site


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """What was found."""

    facts: dict[str, Any] = field(default_factory=dict)
    """`copies` and `site` of `metrics.json`."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look_for_shortcuts(
    cohort: Cohort,
    pooled: Floats,
    site: str | None = None,
    harmonised: Callable[[Ints], Floats] | None = None,
) -> Shortcuts:
    """Look for copies of one image, and for what tells the site.

    Args:
        cohort: Who takes part.
        pooled: Mean-pooled tokens (bag, dim).
        site: Column of the site; by default looked for.
        harmonised: As for `look_at_site`.

    Raises:
        ConfigError: If the user names a column that does not exist.
        SlicecacheError: If two participants hold one image.
    """
    copies = refuse_copies(cohort, pooled)
    found = look_at_site(cohort, pooled, site, harmonised=harmonised)
    said = (copies["said"],) if copies["said"] else ()
    return Shortcuts({"copies": copies, "site": found.facts}, (*said, *found.warnings), found.notes)
