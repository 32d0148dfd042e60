"""Who is in the cohort: controls and patients alike in everything, so that only the effect separates them.

Sites, sexes and repeated sessions are dealt out equally to both groups; age, protocol and the rest are drawn
independently. They are not matched person by person: a cross-validated classifier of matched traits lands
far below 0.5, since whoever is left out is the opposite of the twin that stayed in.
Every number comes from the seed and the participant's place alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from extract.simulate.acquire import Pose, Protocol
from extract.simulate.deform import Anatomy

Effect = Literal["atrophy", "lesion", "none"]

VARIANTS: tuple[tuple[tuple[str, tuple[float, float, float]], ...], ...] = (
    (  # axial acquisitions
        ("RAS", (2.0, 2.0, 2.0)),
        ("LPS", (1.9, 1.9, 2.5)),
        ("LAS", (2.0, 2.0, 2.0)),
        ("RPS", (1.9, 1.9, 2.5)),
    ),
    (  # sagittal acquisitions: the slices run left-right, so that axial pixels are not square
        ("ASL", (2.4, 1.88, 1.88)),
        ("PIR", (2.4, 1.88, 1.88)),
        ("ASR", (2.4, 1.88, 1.88)),
        ("PSR", (1.2, 0.94, 0.94)),
    ),
    (  # coronal acquisitions
        ("LSA", (2.1, 2.4, 2.1)),
        ("RSP", (2.0, 2.2, 2.0)),
        ("LIP", (2.1, 2.4, 2.1)),
        ("RSA", (2.0, 2.2, 2.0)),
    ),
)
"""By site: stored orientations and spacings (right, anterior, superior), the last one for its first pair."""

SITE_CODES = ((1, 1), (1, 0), (1, 1))
"""By site: qform and sform code."""

GROUPS = ("control", "patient")
"""From none of the effect to all of it."""

PATIENT_MM = 5.0
"""How much further the ventricles' wall lies in patients (`atrophy`); evenly less in groups between."""

AGEING_MM, DISEASE_MM = 0.04, 0.46
"""What a year adds in everybody, and in patients beside."""

SPREAD_MM = 1.5
"""How much it differs between participants of one group (standard deviation)."""

WIDEST_MM = 7.0
"""No wall lies further out than this: beyond 8 mm the brain between the ventricles would fold."""


@dataclass(frozen=True, slots=True)
class SimulatedVisit:
    """One session of one participant: what is scanned and how."""

    session_id: str
    """Empty for participants with one session."""
    day: int
    """Days since the first session."""
    age: float
    anatomy: Anatomy
    protocol: Protocol
    pose: Pose
    seed: tuple[int, ...]
    """Draws bias and noise."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One row of `participants.tsv` and the visits behind it."""

    participant_id: str
    age: float
    sex: Literal["F", "M"]
    site: str
    diagnosis: str
    lesion_seed: tuple[int, ...] | None
    """Draws the lesions; none without lesions."""
    visits: tuple[SimulatedVisit, ...]


def plan_cohort(
    participants: int,
    effect: Effect,
    seed: int,
    coarseness: float = 1.0,
    groups: Sequence[str] = GROUPS,
) -> list[Participant]:
    """Draw a cohort, in order of participant id.

    Args:
        participants: How many, dealt evenly to the groups.
        effect: What patients have.
        seed: Of everything.
        coarseness: Factor on all voxel sizes.
        groups: Diagnoses, from none of the effect to all of it.
    """
    order = np.random.default_rng((seed, 0)).permutation(participants)
    width = max(3, len(str(participants)))
    members = [
        plan_participant(int(place), f"sub-{number + 1:0{width}d}", effect, seed, coarseness, groups)
        for number, place in enumerate(order)
    ]
    return sorted(members, key=lambda member: member.participant_id)


def plan_participant(
    place: int,
    participant_id: str,
    effect: Effect,
    seed: int,
    coarseness: float,
    groups: Sequence[str] = GROUPS,
) -> Participant:
    """Draw one participant; `place` says which round of the groups and which group."""
    pair, grade = divmod(place, len(groups))
    patient, share = grade > 0, grade / (len(groups) - 1)
    site, sex = pair % 3, ("F", "M")[(pair // 3) % 2]
    variant = 3 if pair < 3 else None
    own = np.random.default_rng((seed, 1, place))
    age = float(np.clip(own.normal(66, 8), 45, 88))
    scale = (1.015 if sex == "M" else 0.985) * (1 - 0.0003 * (age - 66)) * own.normal(1, 0.006)
    spread = own.normal(1, 0.005, 3)
    ventricle = own.normal(0, SPREAD_MM) + 0.04 * (age - 66)
    ventricle += PATIENT_MM * share if effect == "atrophy" else 0.0
    sessions = ("ses-01", "ses-02") if pair % 5 == 3 else ("",)
    visits = []
    for number, session_id in enumerate(sessions):
        day = 0 if number == 0 else int(own.integers(300, 430))
        years = day / 365.25
        growth = (AGEING_MM + (DISEASE_MM * share if effect == "atrophy" else 0.0)) * years
        anatomy = Anatomy(
            shape_seed=(seed, 3, place),
            scale=(float(scale * spread[0]), float(scale * spread[1]), float(scale * spread[2])),
            ventricle_mm=float(np.clip(ventricle + growth, -2.0, WIDEST_MM)),
        )
        protocol = draw_protocol(site, variant, own, coarseness)
        pose = Pose(_triple(own.normal(0, (1.2, 0.8, 0.8))), _triple(own.normal(0, (2, 4, 3))))
        visits.append(
            SimulatedVisit(
                session_id, day, round(age + years, 1), anatomy, protocol, pose, (seed, 4, place, number)
            )
        )
    return Participant(
        participant_id=participant_id,
        age=round(age, 1),
        sex="F" if sex == "F" else "M",
        site=f"site-{site + 1}",
        diagnosis=groups[grade],
        lesion_seed=(seed, 5, place) if effect == "lesion" and patient else None,
        visits=tuple(visits),
    )


def draw_protocol(site: int, variant: int | None, rng: np.random.Generator, coarseness: float) -> Protocol:
    """A site's protocol: one of its variants, and contrast, gain, noise, bias and margin of this volume."""
    orientation, spacing = VARIANTS[site][int(rng.integers(3)) if variant is None else variant]
    return Protocol(
        spacing_mm=_triple(np.array(spacing) * coarseness),
        orientation=orientation,
        dtype="float32" if site == 2 else "int16",
        codes=SITE_CODES[site],
        tilt_degrees=5.0 if site == 2 else 0.0,
        margin_mm=_triple(np.round(rng.uniform(0, (8, 8, 4)))),
        gamma=float(rng.normal((1.0, 1.1, 0.94)[site], 0.025)),
        gain=float(rng.uniform(350, 1400)),
        noise=float(rng.uniform(0.006, 0.014)),
        bias=float(rng.uniform(0.02, 0.1)),
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
