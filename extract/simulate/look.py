"""How a cohort's lesions look: their change and their shape, drawn for one participant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cache_schema.common.errors import SlicecacheError
from extract.simulate.cohort import Effect, Participant
from extract.simulate.lesion import Change, Lesion, Texture, draw_lesions, draw_texture
from extract.simulate.masks import MaskLesion, draw_mask
from extract.simulate.stroke import LARGEST_ML, SMALLEST_ML, Stroke, draw_stroke, stroke_ml
from extract.simulate.template import Template

DARKENING = 0.55
"""Intensity of dark lesions relative to healthy tissue."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was asked for."""

    change: Change
    masks: tuple[Path, ...]
    """Empty for blobs."""
    median_ml: float | None = None
    """With it one lesion per patient, of a volume drawn around this median."""

    def words(self, folder: str) -> str | None:
        """What the README says; None for dark blobs, of which it speaks already."""
        if self.change == "dark" and not self.masks and self.median_ml is None:
            return None
        shape = f"lesions in the shape of {len(self.masks)} given masks, some mirrored"
        if self.median_ml is not None:
            shape = f"one lesion each, its volume log-normal with a median of {self.median_ml:g} ml"
        elif not self.masks:
            shape = "lesions as blobs"
        one = self.median_ml is not None
        how = "is darker than healthy tissue" if one else "are darker than healthy tissue"
        if self.change == "texture":
            differ = "differs" if one else "differ"
            how = f"{differ} from healthy tissue in texture alone, at the same mean intensity"
        return f"Patients have {shape}, which {how}; their masks lie in `{folder}`. Controls have none."

    def planted(self, cohort: Sequence[Participant]) -> dict[str, Any] | None:
        """What was planted, where lesions have a volume that was asked for: how many, and how large."""
        seeds = [person.lesion_seed for person in cohort if person.lesion_seed is not None]
        if self.median_ml is None or not seeds:
            return None
        volumes = [stroke_ml(seed, self.median_ml) for seed in seeds]
        told = {"smallest_ml": min(volumes), "median_ml": median(volumes), "largest_ml": max(volumes)}
        return {"lesions": len(volumes), "darkening": DARKENING, **{k: round(v, 2) for k, v in told.items()}}


def require_look(look: Look, effect: Effect) -> None:
    """Refuse lesions where there are none, and a volume that no lesion has.

    Raises:
        SlicecacheError: Saying what is expected.
    """
    asked = look.masks or look.change != "dark" or look.median_ml is not None
    if effect != "lesion" and asked:
        raise SlicecacheError(
            f"the effect {effect!r} has no lesions: say --effect lesion, or leave out how they look"
        )
    if look.median_ml is None:
        return
    if look.masks:
        raise SlicecacheError(
            "masks have a size of their own: give --lesion-masks or --lesion-size, not both"
        )
    if not SMALLEST_ML <= look.median_ml <= LARGEST_ML:
        raise SlicecacheError(
            f"--lesion-size: a median of {SMALLEST_ML:g} to {LARGEST_ML:g} ml is expected, not "
            f"{look.median_ml:g}"
        )


def draw_look(
    look: Look, person: Participant, template: Template
) -> tuple[tuple[Lesion, ...] | MaskLesion | Stroke, Texture | None]:
    """A participant's lesions, and their texture unless they are dark; the same in every session."""
    seed = person.lesion_seed
    if seed is None:
        return (), None
    texture = draw_texture(seed) if look.change == "texture" else None
    if look.masks:
        return draw_mask(look.masks, seed, DARKENING), texture
    if look.median_ml is not None:
        return draw_stroke(template, seed, DARKENING, look.median_ml), texture
    return draw_lesions(template, seed, DARKENING), texture
