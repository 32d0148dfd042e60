"""`harmonise:` of a pipeline."""

from typing import Any, Literal

from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict


class HarmoniseSpec(Strict):
    """Take the site's shift and scale out of the tokens, learnt from the training part of every fold.

    The target is never preserved: it would be known on the training side alone, and stand in the tokens of a
    test part in whatever way training had it.
    """

    kind: Literal["combat"] = "combat"
    site: str | None = None
    """Column of the site; by default the section's `site`, or site, center, centre or scanner, e.g.
    `centre`."""
    preserve: tuple[str, ...] | None = None
    """Columns whose share in the tokens stays; by default age and sex where the table has them, e.g.
    `[age, sex]`."""


@reads({"const": "combat"})
def read_harmonise(value: Any) -> Any:
    """Read `harmonise: combat`."""
    return {"kind": value} if isinstance(value, str) else value
