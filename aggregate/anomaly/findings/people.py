"""Held-out participants one by one: their scores among the cohort's, their maps, their lesion masks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.anomaly.findings.measure import held_out
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.anomaly.scoring.execute import FinishedStore
from aggregate.anomaly.scoring.fitted import Fitted
from aggregate.anomaly.scoring.volumes import Surroundings, VolumeScores
from aggregate.common.telling import most_telling

HIGHEST = "among the highest scores"
MISSED = "among the lowest scores outside the reference group"
ALARM = "a held-out normal with one of the highest scores of normals"
MIDDLING = "a held-out normal of middling score, for comparison"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Whom the pages of a detection can be of, and the way to what they show."""

    finished: FinishedStore
    """Of the store whose detectors are shown."""
    fitted: Fitted
    """The detector whose maps are shown."""
    scores: pd.DataFrame
    """As in `scores.csv`."""
    images: Path | None
    """Input root of stage one, where it is there."""

    def people(self) -> dict[str, list[StudyVolume]]:
        """Volumes by participant."""
        found: dict[str, list[StudyVolume]] = {}
        for member in held_out(self.finished.work.members):
            found.setdefault(member.participant, []).append(member)
        return found

    def own_scores(self) -> pd.DataFrame:
        """Rows of held-out volumes by the shown detector's first seed."""
        rows = self.scores
        own = (rows["detector"] == self.fitted.name) & (rows["seed"] == self.fitted.seed)
        return rows[own & rows["part"].isin(["test", "other"])]

    def chosen(self, most: int) -> dict[str, str]:
        """So many of the most telling participants and why, from the highest score down."""
        rows = self.own_scores().groupby("participant_id", sort=True)
        score = rows["score"].max().sort_values(ascending=False, kind="stable")
        normal = set(rows["part"].first().loc[lambda part: part == "test"].index)
        highest = [str(name) for name in score.index]
        normals = [name for name in highest if name in normal]
        found = most_telling(
            {
                HIGHEST: highest,
                MISSED: [name for name in highest[::-1] if name not in normal],
                ALARM: normals,
                MIDDLING: normals[len(normals) // 2 :][:1],
            },
            most,
        )
        return {name: found[name] for name in highest if name in found}

    def scaled(self, member: StudyVolume) -> tuple[VolumeScores, Surroundings]:
        """A volume's scores as they are reported."""
        raw, around = self.finished.read(self.fitted, member)
        return self.fitted.scaled(raw, around), around

    def truth(self, member: StudyVolume) -> NDArray[np.bool_] | None:
        """The lesion voxels `(i, j, k)` of a volume that has a mask."""
        truth = self.finished.work.truth
        return truth.read(member.record) if truth is not None and member.key in truth.masks else None

    def highest_token(self, people: Iterator[str]) -> float:
        """The highest token score in the foreground of some participants: where one scale of colours ends."""
        volumes = self.people()
        top = self.fitted.thresholds["fpr01"]
        for name in people:
            for member in volumes[name]:
                scores, around = self.scaled(member)
                top = max(top, float(scores.tokens[around.foreground > 0].max(initial=top)))
        return top


def held_out_people(finished: FinishedStore, name: str, scores: pd.DataFrame, images: Path | None) -> HeldOut:
    """Of a store's detectors the one whose maps are shown, by its first seed."""
    fitted = next(one for one in finished.fitted if one.name == name)
    return HeldOut(finished, fitted, scores, images)
