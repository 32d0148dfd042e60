"""How a cohort's lesions look: their change and their shape, drawn for one participant."""

from dataclasses import dataclass
from pathlib import Path

from extract.simulate.cohort import Participant
from extract.simulate.lesion import Change, Lesion, Texture, draw_lesions, draw_texture
from extract.simulate.masks import MaskLesion, draw_mask
from extract.simulate.template import Template

DARKENING = 0.55
"""Intensity of dark lesions relative to healthy tissue."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was asked for."""

    change: Change
    masks: tuple[Path, ...]
    """Empty for blobs."""

    def words(self, folder: str) -> str | None:
        """What the README says; None for dark blobs, of which it speaks already."""
        if self.change == "dark" and not self.masks:
            return None
        shape = f"in the shape of {len(self.masks)} given masks, some mirrored" if self.masks else "as blobs"
        how = (
            "are darker than healthy tissue"
            if self.change == "dark"
            else "differ from healthy tissue in texture alone, at the same mean intensity"
        )
        return (
            f"Patients have lesions {shape}, which {how}; their masks lie in `{folder}`. Controls have none."
        )


def draw_look(
    look: Look, person: Participant, template: Template
) -> tuple[tuple[Lesion, ...] | MaskLesion, Texture | None]:
    """A participant's lesions, and their texture unless they are dark; the same in every session."""
    seed = person.lesion_seed
    if seed is None:
        return (), None
    texture = draw_texture(seed) if look.change == "texture" else None
    if look.masks:
        return draw_mask(look.masks, seed, DARKENING), texture
    return draw_lesions(template, seed, DARKENING), texture
