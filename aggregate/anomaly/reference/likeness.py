"""A detector measures what its reference group does not have: another contrast is an anomaly everywhere.

So volumes whose contrast or kind of foreground the reference group lacks are refused.
"""

from collections.abc import Sequence

from aggregate.common.table_values import listed
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict
from cache_schema.format.record import VolumeRecord

OVERRIDE = "allow_unlike_reference"


class ReferenceProfile(Strict):
    """What the reference group has."""

    contrasts: tuple[str, ...]
    foregrounds: tuple[str, ...]

    def unlike(self, record: VolumeRecord) -> str:
        """How a volume differs; empty if it does not."""
        contrast, kind = record.entities.contrast, record.foreground.kind
        found = []
        if contrast not in self.contrasts:
            found.append(f"contrast {contrast or '(none)'}")
        if kind not in self.foregrounds:
            found.append(f"foreground {kind}")
        return ", ".join(found)

    def words(self) -> str:
        """`contrast T1w, foreground head`."""
        contrasts = " and ".join(name or "(none)" for name in self.contrasts)
        return f"contrast {contrasts}, foreground {' and '.join(self.foregrounds)}"


def profile_of(reference: Sequence[VolumeRecord]) -> ReferenceProfile:
    """What the fitted volumes have."""
    return ReferenceProfile(
        contrasts=tuple(sorted({record.entities.contrast for record in reference})),
        foregrounds=tuple(sorted({record.foreground.kind for record in reference})),
    )


def check_likeness(
    profile: ReferenceProfile, records: Sequence[VolumeRecord], allowed: bool, how: str
) -> list[str]:
    """Refuse volumes unlike the reference group, or warn if they are allowed.

    Args:
        profile: Of the reference group.
        records: Of the volumes to score.
        allowed: By the user.
        how: What the user writes to allow them.

    Returns:
        Warnings.

    Raises:
        SlicecacheError: Naming the volumes.
    """
    warnings = []
    if len(profile.contrasts) > 1 or len(profile.foregrounds) > 1:
        warnings.append(f"the reference group is mixed ({profile.words()}), so it is normal to be either")
    groups: dict[str, list[str]] = {}
    for record in records:
        if why := profile.unlike(record):
            groups.setdefault(why, []).append(str(record.key))
    if not groups:
        return warnings
    told = "; ".join(f"{why}: {listed(who)}" for why, who in sorted(groups.items()))
    if not allowed:
        raise SlicecacheError(
            f"volumes unlike the reference group ({profile.words()}) would be anomalous everywhere: {told}; "
            f"choose by select or where, or score them all the same by {how}"
        )
    n = sum(len(who) for who in groups.values())
    return [
        *warnings,
        f"{n} volume(s) are unlike the reference group ({profile.words()}), so their scores say little of "
        f"lesions: {told}",
    ]
