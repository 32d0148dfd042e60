"""What a pipeline's extraction takes, from its plans: by a stated rate, or by one that is measured here."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cache_schema.cluster.cores import usable_cores
from cache_schema.common.errors import SlicecacheError
from extract.effort.needs import Needs, StoreNeeds, needs_of
from extract.effort.rate import HERE, Rate, stated_rate
from extract.planning.arrays import arrays_of
from extract.planning.config import AskedStore
from extract.planning.plan import ExtractionPlan, PlannedVolume

logger = logging.getLogger("slicecache.plan")


def estimated(
    asked: Sequence[AskedStore], plans: Sequence[ExtractionPlan], base: Path, rate: str | None, measure: bool
) -> Needs:
    """What the stores of a run take.

    Args:
        asked: The stores.
        plans: Of each.
        base: Folder that relative paths start from.
        rate: A kind of device, or slices a second; this machine's by default.
        measure: Time this machine.

    Raises:
        ConfigError: If the rate is none.
    """
    cores = usable_cores()
    stores = []
    for each, plan in zip(asked, plans, strict=True):
        arrays, sizes = arrays_of(each.section, base)
        stated = stated_rate(
            "cpu" if each.section.device == "cpu" and not rate else rate or HERE, sizes, cores
        )
        if measure and plan.embeddable:
            stated = _measured(each, plan.embeddable, base, stated)
        stores.append(StoreNeeds(plan.embeddable, arrays, sizes, stated))
    return needs_of(stores, cores)


def _measured(asked: AskedStore, volumes: Sequence[PlannedVolume], base: Path, stated: Rate) -> Rate:
    """The measured rate; the stated one where nothing can be timed, which is no reason to have no plan."""
    from extract.effort.measure import measured_rate

    try:
        return measured_rate(asked.section, base, volumes)
    except SlicecacheError as error:
        logger.warning("no rate was measured: %s", error)
        return replace(stated, said=f"{stated.said}; none was measured")
