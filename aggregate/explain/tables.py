"""What is found as tables: a row per slice, a row per method, and the curves behind the figures."""

from typing import Any

import numpy as np
import pandas as pd

from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats
from aggregate.explain.controls import CONTROLS
from aggregate.explain.deleting import OWN
from aggregate.explain.deletion import SHARES, WAYS, area
from aggregate.explain.explain import Explained

FIXED = ("participant_id", "session_id", "volume_id", "slice_index", "height_mm")


def slice_places(cohort: Cohort) -> pd.DataFrame:
    """Every kept slice of every bag, in order: bag, its place in the bag, and the columns of `FIXED`."""
    parts = []
    for bag, entry, record in zip(cohort.bag.tolist(), cohort.entries, cohort.records, strict=True):
        number = len(record.slices.index)
        parts.append(
            pd.DataFrame(
                {
                    "bag": bag,
                    "participant_id": entry.key.participant_id,
                    "session_id": entry.key.session_id,
                    "volume_id": entry.key.volume_id,
                    "slice_index": np.asarray(record.slices.index, dtype=np.int64),
                    "height_mm": np.asarray(record.slices.height_mm, dtype=np.float64),
                },
                index=range(number),
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table.assign(place=table.groupby("bag").cumcount())


def attention_table(found: Explained, cohort: Cohort) -> pd.DataFrame:
    """`attention.csv`: a row per slice, question and member that did not see the participant."""
    places = slice_places(cohort)
    starts = np.searchsorted(places["bag"].to_numpy(), np.arange(1, len(cohort.frame)))
    rows_of = np.split(np.arange(len(places)), starts)
    label = np.array(cohort.kind.shown(cohort.values), dtype=object)
    parts = []
    for looked in found.looked:
        member = found.asked.bundle.card.members[looked.member]
        for at, bag in enumerate(looked.rows.tolist()):
            own = places.loc[rows_of[bag]]
            place = own["place"].to_numpy()
            for index, question in enumerate(found.asked.questions):
                columns: dict[str, Any] = {name: own[name].to_numpy() for name in FIXED}
                columns |= {"label": label[bag], "evidence_of": question.name}
                columns |= {"repeat": member.repeat, "fold": member.fold, "seed": member.seed}
                columns |= {name: maps[index, at, place] for name, maps in looked.own.items()}
                parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def mean_maps(found: Explained, method: str, random: bool = False) -> dict[int, Floats]:
    """Of every bag that was looked at, the mean over members, or their random heads (question, slice)."""
    parts: dict[int, list[Floats]] = {}
    for looked in found.looked:
        for at, bag in enumerate(looked.rows.tolist()):
            maps = looked.random if random else looked.own
            parts.setdefault(bag, []).append(maps[method][:, at])
    return {bag: np.mean(maps, axis=0) for bag, maps in sorted(parts.items())}


def height_table(found: Explained, cohort: Cohort, method: str, question: int = 0) -> pd.DataFrame:
    """The mean map over height: height_mm, value, label, participant_id, and random_head beside.

    Attention is times the number of slices, so that 1 is even.
    """
    unsigned = not next(one for one in found.asked.methods if one.name == method).signed
    keep, height = found.asked.bags.keep.numpy(), found.asked.bags.height_mm.numpy()
    drawn, parts = mean_maps(found, method, random=True), []
    for bag, maps in mean_maps(found, method).items():
        times = float(keep[bag].sum()) if unsigned else 1.0
        parts.append(
            pd.DataFrame(
                {
                    "height_mm": height[bag][keep[bag]].astype(np.float64),
                    "value": maps[question][keep[bag]] * times,
                    "random_head": drawn[bag][question][keep[bag]] * times,
                    "label": cohort.classes[int(cohort.y[bag])],
                    "participant_id": cohort.participants[bag],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def method_table(found: Explained) -> pd.DataFrame:
    """`methods.csv`: a row per method and map, its own and its controls', with areas and what was tested."""
    rows = []
    for method in found.asked.methods:
        judged = found.judgements[method.name]
        ways = {way: found.separations(method.name, way) for way in WAYS}
        for name in (OWN, *CONTROLS):
            if name not in ways["deletion"]:
                continue
            against = judged.against.get(name)
            rows.append(
                {
                    "method": method.name,
                    "map": name,
                    **{f"{way}_area": float(area(ways[way][name])) for way in WAYS},
                    "difference": None if against is None else against.value,
                    "ci_low": None if against is None else against.low,
                    "ci_high": None if against is None else against.high,
                    "p": judged.p if against is None else against.p,
                    "p_holm": judged.p_holm if against is None else None,
                    "verdict": judged.words if against is None else "",
                }
            )
    return pd.DataFrame(rows)


def share_table(found: Explained, way: str) -> pd.DataFrame:
    """`figures/deletion.csv` and `insertion.csv`: separation by share, a column per method and map."""
    columns: dict[str, Any] = {"share": SHARES}
    for method in found.asked.methods:
        for name, curve in found.separations(method.name, way).items():
            columns[method.name if name == OWN else f"{method.name} {name}"] = curve
    return pd.DataFrame(columns)
