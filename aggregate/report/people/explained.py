"""Pages of an explanation's participants: scores out of fold, and maps beside their controls'."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aggregate.anomaly.measure.truth import LesionTruth, bids_truth
from aggregate.cohort.table.columns import told_columns
from aggregate.common.arrays import Floats
from aggregate.common.resolved import picture_root
from aggregate.common.run_folder import PARTICIPANTS
from aggregate.common.telling import TELLING, PeopleShown
from aggregate.explain.controls import CONTROLS
from aggregate.explain.maps import slice_map
from aggregate.explain.methods.base import MethodBase
from aggregate.explain.people import People, people_of, slices_of
from aggregate.explain.results import ExplainResults
from aggregate.report.figures.drawing import Drawing
from aggregate.report.figures.images.person import Line, curve_figure, strip_figure
from aggregate.report.people.pages import Listed, file_names, remove_pages, viewer_file, write_pages
from aggregate.report.people.showing import (
    VolumePictures,
    highest_places,
    lesion_per_slice,
    shown_slice,
    volume_pictures,
)
from aggregate.report.people.viewer import layers_of, write_viewer
from aggregate.report.text.tables import TextTable
from aggregate.report.text.words import plane_words
from cache_schema.common.errors import SlicecacheError

ORDER = ("highest", "second highest", "third highest")


def write_explained_people(results: ExplainResults, shown: PeopleShown = TELLING) -> dict[str, Any] | None:
    """Write the pages, and say what the report tells of them; None where there are none.

    Args:
        results: Of one explanation.
        shown: How many.
    """
    people = people_of(results.found)
    bags = people.bags()
    most = shown.of(len(bags))
    if not most:
        remove_pages(results.folder)
        return None
    chosen = people.chosen(most)
    listed = {
        name: Listed(why, f"{people.scores[bags[name]].mean():+.2f}".replace("-", "−"))
        for name, why in chosen.items()
    }
    drawing = PersonExplained(results, people, list(chosen))
    drawing.files = file_names(chosen) if shown.viewer else {}
    return write_pages(results.folder, "slicecache explanation", listed, len(bags), drawing.content)


class PersonExplained:
    """What all pages share, taken apart once."""

    def __init__(self, results: ExplainResults, people: People, chosen: list[str]) -> None:
        """Keep it, and look for lesion masks of those who are shown."""
        self.results, self.people, self.bags = results, people, people.bags()
        self.files: dict[str, str] = {}
        self.study, self.found = results.study, results.found
        self.pole = plane_words(self.study.store.header)["from_pole"]
        self.images = picture_root(self.study.pipeline)
        self.labels = np.array(self.study.cohort.kind.shown(self.study.cohort.values), dtype=object)
        self.question = self.found.questions[0]
        drawn = {bag for name in chosen for bag in self.bags[name]}
        pairs = zip(self.study.cohort.bag.tolist(), self.study.cohort.records, strict=True)
        self.truth = masks_beside([record for bag, record in pairs if bag in drawn], self.images)

    def content(self, name: str) -> dict[str, Any]:
        """One page."""
        bags = self.bags[name]
        own = self.people.scores[bags]
        groups = self.groups(name)
        told = [
            f"{int((values < own.mean()).sum())} of {len(values)} ({of})" for of, values in groups.items()
        ]
        score = f"{own.mean():+.2f}".replace("-", "−")
        first, *others = self.found.asked.methods
        backbone = self.study.store.header.fingerprint.backbone.architecture
        return {
            "heading": name,
            "headline": f"Out of fold the head's score for {self.question.name} is {score}, higher than "
            f"{' and '.join(told)}; true is {' and '.join(dict.fromkeys(map(str, self.labels[bags])))}.",
            "untrained": backbone.get("kind") == "untrained",
            "facts": self.facts(bags),
            "strip": strip_figure(groups, own.tolist(), f"score for {self.question.name}, out of fold")
            if groups
            else None,
            "scores": self.score_table(bags),
            "viewers": bool(self.files),
            "volumes": [self.volume(bag, first) for bag in bags],
            "others": [
                {
                    **self.verdict(method),
                    "curves": [self.curve(bag, method, []) for bag in bags],
                }
                for method in others
            ],
            "notes": [
                "Every number comes from members of the bundle that did not see this participant; a band "
                "reaches from the lowest to the highest of them.",
                "A map is judged over the whole cohort, not on one participant: where it does not beat its "
                "controls it is titled 'not interpretable', and its peaks here mean nothing.",
            ],
        }

    def groups(self, name: str) -> dict[str, Floats]:
        """Everybody else's scores, by label where there are classes."""
        rest = [bag for who, bags in self.bags.items() if who != name for bag in bags]
        if self.question.of == "number":
            return {"all others": self.people.scores[rest]} if rest else {}
        found: dict[str, list[float]] = {}
        for bag in rest:
            found.setdefault(str(self.labels[bag]), []).append(float(self.people.scores[bag]))
        return {label: np.array(found[label]) for label in sorted(found)}

    def facts(self, bags: list[int]) -> list[tuple[str, str]]:
        """Label, sessions, and what is known of age, sex and site."""
        cohort = self.study.cohort
        labels = " and ".join(dict.fromkeys(map(str, self.labels[bags])))
        found = [(cohort.target, labels)]
        visits = [str(cohort.frame["session_id"].iloc[bag]) for bag in bags]
        for column in told_columns([str(one) for one in cohort.table.columns]):
            if column != cohort.target:
                cells = [_cell(cohort.table[column].iloc[bag]) for bag in bags]
                found.append((column, " and ".join(dict.fromkeys(cells))))
        return [*found, *([("sessions", ", ".join(visits))] if any(visits) else [])]

    def score_table(self, bags: list[int]) -> TextTable:
        """The score of every session."""
        cohort = self.study.cohort
        rows = tuple(
            (
                str(cohort.frame["session_id"].iloc[bag]) or "one session",
                f"{self.people.scores[bag]:+.3f}".replace("-", "−"),
                str(len(self.people.where[bag])),
            )
            for bag in bags
        )
        return TextTable(("session", f"score for {self.question.name}", "members that did not see it"), rows)

    def verdict(self, method: MethodBase) -> dict[str, str]:
        """A method's title, as it is everywhere, and the reason."""
        judged = self.found.judgements[method.name]
        return {"title": f"{method.words}: {judged.words}", "reason": f"{judged.reason}."}

    def curve(
        self, bag: int, method: MethodBase, named_mm: list[float], truth_mm: tuple[float, ...] = ()
    ) -> Drawing:
        """A method's map of a bag over height, beside its controls'."""
        maps, height = self.people.maps(bag, method), self.people.height_mm(bag)
        lines = {method.words: Line(height, maps.own, maps.low, maps.high)}
        lines |= {CONTROLS[name]: Line(height, values) for name, values in maps.controls.items()}
        of = f": logits for {self.question.name}" if method.signed else " × number of slices (1 = even)"
        told = f"{method.words}{of}"
        even = 0.0 if method.signed else 1.0
        return curve_figure(f"{method.name}-{bag}", lines, named_mm, told, self.pole, even, truth_mm)

    def volume(self, bag: int, method: MethodBase) -> dict[str, Any]:
        """The first method's map of one bag, and the slices that it names."""
        maps, height, cohort = self.people.maps(bag, method), self.people.height_mm(bag), self.study.cohort
        slices = slices_of(cohort.bag, [entry.n_slices for entry in cohort.entries], bag)
        pictures = {entry: self.pictures(entry) for entry in dict.fromkeys(entry for entry, _ in slices)}
        lesion = np.concatenate([self.lesion(pictures[entry]) for entry in pictures])
        places = highest_places(maps.own)
        verdict = self.verdict(method)
        session = str(cohort.frame["session_id"].iloc[bag])
        return {
            "title": " ".join(filter(None, (session, verdict["title"]))),
            "reason": verdict["reason"],
            "curve": self.curve(bag, method, height[places].tolist(), tuple(height[lesion > 0])),
            "curve_words": f"Map ({method.words}) of every slice over height, beside its controls. "
            + (
                "The centre-Gaussian has no unit and is drawn as high as the map itself. "
                if method.signed
                else ""
            )
            + ("Blue: slices that a lesion mask reaches." if (lesion > 0).any() else ""),
            "slices": [
                self.slice(pictures, slices[place], place, height, maps.own, lesion, order)
                for place, order in zip(places, ORDER, strict=False)
            ],
            "source": " ".join(dict.fromkeys(one.source() for one in pictures.values())),
            "truth": "" if self.truth.masks else "No lesion mask was found beside the images.",
            "bar": None,
            "viewer": self.viewer(bag, pictures, maps.own) if self.files else None,
        }

    def viewer(self, bag: int, pictures: dict[int, VolumePictures], values: Floats) -> str | None:
        """Write the viewer of a bag's first volume, where its image is at hand; its name."""
        first = next(iter(pictures.values()))
        method = self.found.asked.methods[0]
        even = 0.0 if method.signed else 1.0
        own = values[: len(first.record.slices.index)]
        told = f"{method.words}: {self.found.judgements[method.name].words}"
        layers = layers_of(
            first, slice_map(own, first.record), even, float(max(own.max(), even + 1e-6)), told
        )
        if not layers:
            return None
        who = self.found.asked.participants[bag]
        name = viewer_file(self.files[who], bag)
        unit = f"One value per slice, evidence of {self.question.name}; clear where it says nothing for it."
        path = self.results.folder / PARTICIPANTS / name
        write_viewer(path, first.record, layers, who, told, unit, self.files[who])
        return name

    def slice(
        self,
        pictures: dict[int, VolumePictures],
        where: tuple[int, int],
        place: int,
        height_mm: Floats,
        values: Floats,
        lesion: Any,
        order: str,
    ) -> dict[str, Any]:
        """One slice with its caption."""
        entry, inside = where
        height = f"{height_mm[place]:.0f} mm {self.pole}"
        outline = "; the lesion mask's outline in blue" if lesion[place] > 0 else ""
        value = f"{values[place]:.3g}".replace("-", "−")
        return {
            "picture": shown_slice(pictures[entry], inside, None, f"{height}, {order} evidence"),
            "height": height,
            "caption": f"{order} evidence, {value}{outline}",
        }

    def pictures(self, entry: int) -> VolumePictures:
        """What can be shown of an entry."""
        record = self.study.cohort.records[entry]
        truth = self.truth.read(record) if record.key in self.truth.masks else None
        return volume_pictures(self.study.store, record, self.images, truth)

    @staticmethod
    def lesion(pictures: VolumePictures) -> Any:
        """Lesion pixels of every slice."""
        count = len(pictures.record.slices.index)
        if pictures.truth is None:
            return np.zeros(count, dtype=np.int64)
        return lesion_per_slice(pictures.truth, pictures.record)


def masks_beside(records: list[Any], images: Path | None) -> LesionTruth:
    """Lesion masks that lie beside the images as BIDS has them; none where they cannot be told."""
    try:
        return bids_truth(records, images) if images is not None else LesionTruth({})
    except SlicecacheError:
        return LesionTruth({})


def _cell(value: Any) -> str:
    """A cell of the typed table as text."""
    if pd.isna(value):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
