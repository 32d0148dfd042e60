"""Deletion and insertion of every member's bags by every map; controls' maps are made here."""

from collections.abc import Callable, Sequence

import numpy as np

from aggregate.common.arrays import Floats
from aggregate.explain.controls import CENTRE, OTHER, RANDOM, centre_map, donors, handed_on
from aggregate.explain.deletion import SHARES, WAYS, curves, places
from aggregate.explain.looking import BLOCK, Asked, Looked, Onlooker, blocks
from aggregate.explain.view import View

OWN = "own"
ShareCurves = dict[str, dict[str, dict[str, Floats]]]
"""By method, by `own` or a control, by way: scores (question, bag or person, share)."""


def delete(onlooker: Onlooker, looked: Sequence[Looked], done: Callable[[], None]) -> ShareCurves:
    """Take slices away, and give them, in the order of every map; the mean over members.

    Returns:
        As `ShareCurves`, of all bags (question, bag, share); NaN where nobody looked.
    """
    asked = onlooker.asked
    shape = (len(asked.questions), len(asked.bags), len(SHARES))
    total: ShareCurves = {method.name: {} for method in asked.methods}
    count = np.zeros(len(asked.bags))
    given = handed_maps(asked, looked)
    for own in looked:
        generator = np.random.Generator(np.random.PCG64([asked.seed, own.member]))
        for start, some in zip(range(0, len(own.rows), BLOCK), blocks(own.rows), strict=True):
            view = onlooker.view(own.member, some, None)
            part, length = slice(start, start + len(some)), view.keep.shape[1]
            centre = np.repeat(centre_map(view.bags)[None], len(asked.questions), axis=0)
            by_centre = _both_ways(view, centre, asked, generator, True)
            for method in asked.methods:
                maps = {OWN: own.own[method.name], RANDOM: own.random[method.name]}
                if given:
                    maps[OTHER] = given[own.member][method.name]
                found = {
                    name: _both_ways(view, one[:, part, :length], asked, generator, not method.signed)
                    for name, one in maps.items()
                }
                for name, ways in {**found, CENTRE: by_centre}.items():
                    sums = total[method.name].setdefault(name, {way: np.zeros(shape) for way in WAYS})
                    for way, curve in ways.items():
                        sums[way][:, some] += curve
            count[some] += 1
            done()
    many = np.where(count > 0, count, np.nan)[:, None]
    return {
        method: {name: {way: sums / many for way, sums in ways.items()} for name, ways in named.items()}
        for method, named in total.items()
    }


def handed_maps(asked: Asked, looked: Sequence[Looked]) -> dict[int, dict[str, Floats]]:
    """For each member's bags another participant's maps, by the member of that repeat that did not see him.

    Returns:
        Nothing where there is only one participant.
    """
    members = asked.bundle.card.members
    keep, height = asked.bags.keep.numpy(), asked.bags.height_mm.numpy().astype(np.float64)
    found: dict[int, dict[str, Floats]] = {}
    for series in {(members[one.member].repeat, members[one.member].seed) for one in looked}:
        own = [one for one in looked if (members[one.member].repeat, members[one.member].seed) == series]
        where = {row: (one, at) for one in own for at, row in enumerate(one.rows.tolist())}
        of = donors(asked.participants, np.array(sorted(where), dtype=np.int64), asked.seed + series[0])
        if not of:
            return {}
        for one in own:
            maps = {name: np.zeros_like(values) for name, values in one.own.items()}
            for at, row in enumerate(one.rows.tolist()):
                giver, place = where[of[row]]
                for name, values in maps.items():
                    values[:, at] = handed_on(
                        giver.own[name][:, place], height[of[row]], keep[of[row]], height[row], keep[row]
                    )
            found[one.member] = maps
    return found


def _both_ways(
    view: View, evidence: Floats, asked: Asked, generator: np.random.Generator, one_map: bool
) -> dict[str, Floats]:
    """Scores by share, as slices go and as they come."""
    place = places(evidence, view.keep.numpy(), generator)
    return {way: curves(view, place, asked.questions, way, one_map) for way in WAYS}
