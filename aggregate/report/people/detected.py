"""Pages of a detection's held-out participants: scores among the cohort's, and the slices named."""

from typing import Any

import numpy as np
import pandas as pd

from aggregate.anomaly.findings.people import HeldOut
from aggregate.anomaly.findings.results import DetectionResults
from aggregate.anomaly.maps.placement import native_map, placement
from aggregate.anomaly.reference.group import StudyVolume
from aggregate.common.arrays import Floats
from aggregate.common.run_folder import PARTICIPANTS
from aggregate.common.telling import TELLING, PeopleShown
from aggregate.report.figures.images.person import Line, curve_figure, strip_figure
from aggregate.report.figures.images.slices import bar_colours
from aggregate.report.people.pages import Listed, file_names, remove_pages, viewer_file, write_pages
from aggregate.report.people.showing import (
    Heat,
    VolumePictures,
    highest_places,
    lesion_per_slice,
    shown_slice,
    volume_pictures,
)
from aggregate.report.people.viewer import layers_of, write_viewer
from aggregate.report.text.tables import TextTable
from aggregate.report.text.words import plane_words

PARTS = {"test": "held-out normals", "other": "outside the reference group"}


def write_detected_people(results: DetectionResults, shown: PeopleShown = TELLING) -> dict[str, Any] | None:
    """Write the pages, and say what the report tells of them; None where there are none.

    Args:
        results: Of one detection.
        shown: How many.
    """
    held = results.people
    people = {} if held is None else held.people()
    most = shown.of(len(people))
    if held is None or not most:
        remove_pages(results.folder)
        return None
    chosen = held.chosen(most)
    scores = held.own_scores().groupby("participant_id")["score"].max()
    top = held.highest_token(iter(chosen))
    listed = {name: Listed(why, f"{scores[name]:.4g}") for name, why in chosen.items()}
    drawing = PersonDrawing(results, held, people, top)
    drawing.files = file_names(chosen) if shown.viewer else {}
    return write_pages(results.folder, "slicecache detection", listed, len(people), drawing.content)


class PersonDrawing:
    """What all pages share, taken apart once."""

    def __init__(
        self, results: DetectionResults, held: HeldOut, people: dict[str, list[StudyVolume]], top: float
    ) -> None:
        """Keep it."""
        self.results, self.held, self.people, self.top = results, held, people, top
        self.files: dict[str, str] = {}
        self.own = held.own_scores()
        self.store = held.finished.work.store
        self.pole = plane_words(self.store.header)["from_pole"]
        scaled = held.fitted.calibration.scale is not None
        self.unit = (
            "standard deviations from normals of the same height"
            if scaled
            else f"score of {held.fitted.name}, without a unit"
        )

    @staticmethod
    def groups(rows: pd.DataFrame) -> dict[str, Floats]:
        """Volume scores by part, of those parts that there are."""
        return {
            words: rows.loc[rows["part"] == part, "score"].to_numpy(dtype=np.float64)
            for part, words in PARTS.items()
            if (rows["part"] == part).any()
        }

    def content(self, name: str) -> dict[str, Any]:
        """One page."""
        volumes = self.people[name]
        own = self.own[self.own["participant_id"] == name]["score"].to_numpy(dtype=np.float64)
        groups = self.groups(self.own[self.own["participant_id"] != name])
        cells = dict(cell for member in volumes for cell in member.cells)
        visits = [member.key.session_id for member in volumes if member.key.session_id]
        facts = [("group", PARTS[volumes[0].part]), *cells.items()]
        facts += [("sessions", ", ".join(visits))] if visits else []
        backbone = self.store.header.fingerprint.backbone.architecture
        return {
            "heading": name,
            "headline": among(own.max(), groups, self.held.fitted.name),
            "untrained": backbone.get("kind") == "untrained",
            "facts": facts,
            "strip": strip_figure(groups, own.tolist(), f"volume score of {self.held.fitted.name}")
            if groups
            else None,
            "scores": self.score_table(name),
            "viewers": bool(self.files),
            "volumes": [self.volume(member, number) for number, member in enumerate(volumes)],
            "notes": [
                "The score of a volume is the mean of the highest 1 % of its foreground patches. A detector "
                "says what is unlike the reference group, and no diagnosis.",
            ],
        }

    def score_table(self, name: str) -> TextTable:
        """Every detector's score of every volume, with its place among the held-out ones."""
        rows = self.held.scores
        rows = rows[rows["part"].isin(list(PARTS)) & (rows["seed"] == 0)]
        own, others = rows[rows["participant_id"] == name], rows[rows["participant_id"] != name]
        found = []
        for row in own.astype(object).to_dict("records"):
            rest = others[others["detector"] == row["detector"]]["score"]
            above = "–" if pd.isna(row["above_fpr05"]) else ("no", "yes")[int(row["above_fpr05"])]
            found.append(
                (
                    str(row["detector"]),
                    f"{row['session_id']} {row['volume_id']}".strip(),
                    f"{row['score']:.4g}",
                    f"above {int((rest < row['score']).sum())} of {len(rest)}",
                    above,
                    f"{100 * row['share_fpr05']:.0f} %",
                )
            )
        head = (
            "detector",
            "volume",
            "score",
            "among other held-out volumes",
            "above what 5 % of normals reach",
            "patches above the 5 % threshold",
        )
        return TextTable(head, tuple(found))

    def volume(self, member: StudyVolume, number: int) -> dict[str, Any]:
        """One volume: its curve, its slices, the colours' meaning."""
        scores, around = self.held.scaled(member)
        truth, fitted = self.held.truth(member), self.held.fitted
        pictures = volume_pictures(self.store, member.record, self.held.images, truth)
        lesion = None if truth is None else lesion_per_slice(truth, member.record)
        places = highest_places(scores.slices)
        why = {place: f"{order} slice score" for place, order in zip(places, ORDER, strict=False)}
        if lesion is not None and lesion.any():
            largest = int(np.argmax(lesion))
            why.setdefault(largest, "most of the lesion mask")
        heights = around.height_mm.astype(np.float64)
        heat = Heat(scores.tokens, fitted.smooth_pixels, fitted.thresholds["fpr10"], self.top)
        return {
            "title": " ".join(filter(None, (member.key.session_id, member.key.volume_id))),
            "curve": curve_figure(
                f"curve-{number}",
                {"slice score": Line(heights, scores.slices.astype(np.float64))},
                [heights[place] for place in why],
                f"slice score of {fitted.name}",
                self.pole,
                truth_mm=[] if lesion is None else heights[lesion > 0].tolist(),
            ),
            "curve_words": "Score of every slice over height."
            + (" Blue: slices that the lesion mask reaches." if lesion is not None and lesion.any() else ""),
            "slices": [
                self.slice(pictures, heat, place, reason, heights, scores.slices, lesion)
                for place, reason in why.items()
            ],
            "source": pictures.source(),
            "truth": truth_words(truth is not None, lesion),
            "bar": self.bar(),
            "viewer": self.viewer(member, number, pictures, scores.tokens) if self.files else None,
        }

    def viewer(self, member: StudyVolume, number: int, pictures: VolumePictures, tokens: Any) -> str | None:
        """Write a volume's viewer, where its image is at hand; its name."""
        fitted, record = self.held.fitted, member.record
        place = placement(record, tokens.shape[1:], fitted.smooth_pixels)
        low, detector = fitted.thresholds["fpr10"], fitted.name
        layers = layers_of(pictures, native_map(tokens, place, "linear"), low, self.top, f"map of {detector}")
        if not layers:
            return None
        page = self.files[member.participant]
        name = viewer_file(page, number)
        said = (
            f"{' '.join(filter(None, (member.key.session_id, member.key.volume_id)))}: scores of {detector}"
        )
        unit = f"The map is in {self.unit}, clear up to what 10 % of normal patches exceed."
        path = self.results.folder / PARTICIPANTS / name
        write_viewer(path, record, layers, member.participant, said, unit, page)
        return name

    def slice(
        self,
        pictures: VolumePictures,
        heat: Heat,
        place: int,
        reason: str,
        heights: Floats,
        slices: Any,
        lesion: Any,
    ) -> dict[str, Any]:
        """One slice with its caption."""
        height = f"{heights[place]:.0f} mm {self.pole}"
        letters = (
            "" if pictures.record.geometry.orientation != "unknown" else "; which side is left is unknown"
        )
        inside = "" if lesion is None or not lesion[place] else "; the mask's outline in blue"
        return {
            "picture": shown_slice(pictures, place, heat, f"{height}, {reason}, with the map over it"),
            "height": height,
            "caption": f"{reason}, {slices[place]:.4g}{inside}{letters}",
        }

    def bar(self) -> dict[str, Any]:
        """What the map's colours stand for."""
        limits = self.held.fitted.thresholds
        low = limits["fpr10"]
        marks = [f"{value:.3g}" for value in (low, (low + self.top) / 2, self.top)]
        said = "; ".join(
            f"{share} % of normal patches are above {limits[name]:.3g}"
            for name, share in (("fpr10", 10), ("fpr05", 5), ("fpr01", 1))
        )
        return {
            "colours": bar_colours(),
            "marks": marks,
            "unit": self.unit,
            "words": f"Clear up to the 10 % threshold: {said}. One scale for all pages.",
        }


ORDER = ("highest", "second highest", "third highest")


def among(score: float, groups: dict[str, Floats], detector: str) -> str:
    """Where a score lies among the cohort's, in a sentence."""
    told = [f"{int((values < score).sum())} of {len(values)} ({words})" for words, values in groups.items()]
    return f"Score {score:.4g} by {detector}, higher than {' and '.join(told)}."


def truth_words(known: bool, lesion: Any) -> str:
    """What is known of lesions."""
    if not known:
        return "No lesion mask of this volume."
    return "" if lesion.any() else "Its lesion mask has no voxel on the kept slices."
