"""Whether a head can win by the site alone: the embedding tells sites apart, and the label goes with them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats, Ints
from aggregate.common.table_values import listed
from aggregate.shortcuts.association import association
from aggregate.shortcuts.places import FEWEST, SCANNER, Places, find_places
from aggregate.shortcuts.predictable import predict_site
from aggregate.statistics.metrics import GUESSING

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class SiteFinding:
    """What is known of the site."""

    facts: dict[str, Any] = field(default_factory=dict)
    """`site` of `metrics.json`."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def look_at_site(
    cohort: Cohort,
    pooled: Floats,
    site: str | None = None,
    seed: int = 0,
    harmonised: Callable[[Ints], Floats] | None = None,
) -> SiteFinding:
    """Ask whether the embedding tells sites apart and whether the label goes with them, and say it.

    Args:
        cohort: Gives sites and labels.
        pooled: Mean-pooled tokens (bag, dim).
        site: Column of the site; by default looked for.
        seed: Of folds and draws.
        harmonised: Gives all bags' vectors as they are when some bags were learnt from, where training does.

    Raises:
        ConfigError: If the user names a column that does not exist.
    """
    places = find_places(cohort, site)
    if places is None:
        said = (
            "whether the embedding tells sites apart cannot be asked: the table has no column of the site "
            "beside the target, and by the records all volumes are of one kind of scan"
        )
        return SiteFinding({"column": None, "said": said}, notes=(said,))
    facts: dict[str, Any] = {
        "column": None if places.what == SCANNER else places.what,
        "sites": list(places.names),
        "too_small": list(places.small),
        "predictable": _predictable(places, pooled, seed),
        "with_label": _with_label(cohort, places, seed),
    }
    if harmonised is not None and facts["predictable"] is not None:
        facts["harmonised"] = _predictable(places, pooled, seed, harmonised)
    said, alarming = site_sentence(facts)
    return SiteFinding(facts | {"said": said}, *(((said,), ()) if alarming else ((), (said,))))


def site_sentence(facts: dict[str, Any]) -> tuple[str, bool]:
    """What the two findings say together, and whether it is a warning."""
    told, goes = facts["predictable"], facts["with_label"]
    sites = facts["column"] is not None
    what = "sites" if sites else "scanners (by shape, spacing, orientation and contrast)"
    one = "site" if sites else "scanner"
    label = f"nothing can be said of {one} and label"
    if goes is not None:
        numbers = f"Cramér's V {goes['cramers_v']:.2f}, p = {goes['p']:.3f}"
        shown = goes["p"] <= LEVEL
        label = f"the label {'goes' if shown else 'is not shown to go'} with the {one} ({numbers})"
    if told is None:
        few = f"fewer than two hold {FEWEST} participants"
        return f"whether the embedding tells {what} apart cannot be asked: {few}; {label}", False
    found = told["auroc"]
    interval = "" if found["ci_low"] is None else f" [{found['ci_low']:.2f}, {found['ci_high']:.2f}]"
    numbers = f"AUROC {found['value']:.2f}{interval}, guessing {GUESSING}"
    verb = "tells" if told["told"] else "is not shown to tell"
    left = f" (left out, fewer than {FEWEST}: {listed(facts['too_small'])})" if facts["too_small"] else ""
    sentence = f"the embedding {verb} {what} apart ({numbers}){left} and {label}"
    if (read := facts.get("harmonised", told)) is not told:
        verb = "still tell" if read["told"] else "are not shown to tell"
        sentence += f"; harmonised tokens {verb} them apart (AUROC {read['auroc']['value']:.2f}, out of fold)"
    if read["told"] and goes is not None and goes["p"] <= LEVEL:
        return f"{sentence}: a head can win by the {one} alone", True
    return sentence, False


def _predictable(
    places: Places, pooled: Floats, seed: int, harmonised: Callable[[Ints], Floats] | None = None
) -> dict[str, Any] | None:
    """None with fewer than two sites that are large enough."""
    if len(places.names) < 2:
        return None
    kept = places.site >= 0
    bags = places.bags[kept]
    moved = None if harmonised is None else lambda inside: harmonised(bags[inside])[bags]
    return predict_site(pooled[bags], places.site[kept], seed, moved)


def _with_label(cohort: Cohort, places: Places, seed: int) -> dict[str, Any] | None:
    """None where the target is no class, or there is one site only; small sites count as one."""
    if not cohort.kind.classes:
        return None
    counts = np.zeros((len(places.names) + 1, len(cohort.classes)))
    np.add.at(counts, (places.site, cohort.y[places.bags]), 1)  # -1 is the last row
    return association(counts, seed)
