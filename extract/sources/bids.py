"""A BIDS root as input: raw data or one derivatives dataset.

Only `sub-*` folders are entered, so a raw root never yields what lies in its `derivatives/`. Masks,
segmentations and anything with a `label-` entity are labels and never volumes.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.short_forms import ONE, reads
from cache_schema.common.strict import Strict, later
from cache_schema.format.identity import VolumeKey
from extract.sources.candidate import Candidate, bids_parts, entities_of, source_name, stem
from extract.sources.masks import BrainMasks, with_masks
from extract.sources.walk import Walk

LABELS = ("mask", "dseg", "probseg", "roi")
ANY = "*"


@reads(ONE)
def _as_tuple(value: object) -> object:
    """One filter value is a list of one."""
    return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value


Choice = tuple[str | int, ...] | None
"""Values that are let through; None for all."""
Filter = Annotated[tuple[str | int, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class BidsInput(Strict):
    """`{bids: FOLDER, suffix: T1w, session: [01, 02], ...}`.

    A filter takes one value or a list; a number matches whatever its leading zeros; `''` means that
    the entity is absent, `'*'` that anything goes.
    """

    bids: Path
    """The root of the dataset: the folder that holds `sub-*`, e.g. `data/cohort`."""
    suffix: Filter = ("T1w",)
    """Contrast by the end of the file's name, e.g. `[T1w, FLAIR]`."""
    session: Filter | None = None
    """Sessions that are read, with or without `ses-`, e.g. `[01, 02]`."""
    run: Filter | None = None
    """Runs that are read, e.g. `1`."""
    acquisition: Filter | None = None
    """Values of `acq-` that are read, e.g. `mprage`."""
    desc: Filter | None = None
    """Values of `desc-` that are read, as derivatives have them, e.g. `preproc`."""
    space: Filter | None = None
    """Values of `space-` that are read, e.g. `MNI152NLin2009cAsym`."""
    participant: Filter | None = later(None)
    """With or without `sub-`, e.g. `[sub-01, sub-02]`."""
    masks: BrainMasks | None = later(None)
    """Brain masks among derivatives, for heads with skull and face, e.g.
    `{derivatives: derivatives/fmriprep}`."""

    @field_validator("suffix")
    @classmethod
    def _no_labels(cls, value: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """Masks are truth for stage two, not volumes."""
        if labels := [name for name in value if name in LABELS]:
            raise ValueError(f"{labels[0]!r} names a mask or segmentation; a volume's suffix is expected")
        return value

    def filters(self) -> dict[str, Choice]:
        """BIDS entity name -> what is asked of it."""
        return {
            "ses": self.session, "run": self.run, "acq": self.acquisition,
            "desc": self.desc, "space": self.space,
        }  # fmt: skip


Named = tuple[Path, dict[str, str], str]
"""A file with the entities and the suffix that its name says."""


def find_bids(spec: BidsInput, base: Path) -> tuple[list[Candidate], list[str]]:
    """Every volume of the tree that passes the filters, sorted by key, and notes on what lies beside them.

    Args:
        spec: The root and the filters.
        base: Folder that a relative root starts from.

    Raises:
        ConfigError: If the root is no BIDS tree, nothing matches, a file lies in somebody else's folder, or
            a choice between several `desc` or `space` versions of the volumes is left open.
    """
    root = base / os.path.expanduser(spec.bids)
    names, notes = _named_images(root, spec.participant)
    suffixed = [row for row in names if _matches(row[2], spec.suffix) and "label" not in row[1]]
    wanted = [row for row in suffixed if row[1].get("sub")]
    if nameless := [path for path, parts, _ in suffixed if not parts.get("sub")]:
        first = source_name(nameless[0], root)
        notes.append(
            f"images left out, because their names begin with no sub-: {len(nameless)}, as {first!r}"
        )
    _refuse_strangers(wanted, root)
    kept = [
        row
        for row in wanted
        if all(_matches(row[1].get(name, ""), choice) for name, choice in spec.filters().items())
    ]
    if not kept:
        raise ConfigError(_nothing(root, spec, [suffix for _, _, suffix in names], len(wanted)))
    for name in ("space", "desc"):
        _require_choice(name, spec, [parts.get(name, "") for _, parts, _ in kept], root)
    found = [_candidate(path, parts, suffix, root) for path, parts, suffix in kept]
    if spec.masks is not None:
        found = with_masks(found, spec.masks, base, root)
    return sorted(found, key=lambda candidate: (candidate.key, candidate.source)), notes


def _named_images(root: Path, who: Choice) -> tuple[list[Named], list[str]]:
    """Every image below the `sub-*` folders, and what is to be said of links that were not followed."""
    walk = Walk(root)
    images = (path for participant in _participants(root, who) for path in walk.images(participant))
    names = [(path, *bids_parts(stem(path))) for path in images]
    if not walk.loops:
        return names, []
    count, first = len(walk.loops), source_name(walk.loops[0], root)
    return names, [
        f"links not followed, because they lead to a folder that holds them: {count}, as {first!r}"
    ]


def _participants(root: Path, who: Choice) -> list[Path]:
    """The `sub-*` folders, or those asked for: one participant costs no walk through all."""
    if not os.path.isdir(root):
        raise ConfigError(f"the BIDS root {str(root)!r} is not a folder")
    participants = sorted(
        entry for entry in root.iterdir() if entry.name.startswith("sub-") and entry.is_dir()
    )
    if not participants:
        inside = root / "derivatives"
        hint = f"; datasets inside {str(inside)!r} are roots of their own" if inside.is_dir() else ""
        raise ConfigError(f"the BIDS root {str(root)!r} has no sub-* folder{hint}")
    chosen = [entry for entry in participants if _matches(entry.name.removeprefix("sub-"), who)]
    if not chosen:
        asked = ", ".join(str(label) for label in who or ())
        raise ConfigError(f"none of the {len(participants)} participants of {str(root)!r} is {asked}")
    return [root / entry.name for entry in chosen]


def _refuse_strangers(rows: Sequence[Named], root: Path) -> None:
    """A file that lies in the folder of another participant or session: one of the two is wrong.

    Raises:
        ConfigError: Naming the first, and how many there are.
    """
    strange = [(path, *found) for path, parts, _ in rows if (found := _contradiction(path, parts, root))]
    if not strange:
        return
    path, folder, name = strange[0]
    more = f" ({len(strange)} such files)" if len(strange) > 1 else ""
    raise ConfigError(
        f"{source_name(path, root)!r} lies in the folder of {folder!r}, and its name says {name!r}{more}: "
        "find out whose it is, then move or rename it"
    )


def _contradiction(path: Path, parts: dict[str, str], root: Path) -> tuple[str, str] | None:
    """The folder's and the name's entity where they differ."""
    for folder in path.relative_to(root).parts[:-1]:
        said, _ = bids_parts(folder)
        for label in ("sub", "ses"):
            if said.get(label) and parts.get(label, said[label]) != said[label]:
                return folder, f"{label}-{parts[label]}"
    return None


def _matches(value: str, choice: Choice) -> bool:
    """Whether an entity's value is among those asked for."""
    return choice is None or any(_equal(value, wanted) for wanted in choice)


def _equal(value: str, wanted: str | int) -> bool:
    if isinstance(wanted, int):
        return value.isdigit() and int(value) == wanted
    label, dash, rest = wanted.partition("-")
    bare = rest if dash and label in ("sub", "ses", "run", "acq", "desc", "space") else wanted
    return wanted == ANY or value == bare


def _require_choice(name: str, spec: BidsInput, values: list[str], root: Path) -> None:
    """Several spaces or desc versions of the same volumes are a choice that only the user can make."""
    found = Counter(values)
    if len(found) < 2 or spec.filters()[name] is not None:
        return
    listed = ", ".join(f"{value!r} ({count})" for value, count in sorted(found.items()))
    raise ConfigError(
        f"{str(root)!r} holds volumes with {name} {listed}: "
        f"say which with `{name}:` ('' for none of them, '*' for all)"
    )


def _candidate(path: Path, parts: dict[str, str], suffix: str, root: Path) -> Candidate:
    """Ids carry their BIDS prefix, as in `participants.tsv` and `sub-*_sessions.tsv`."""
    rest = [f"{name}-{value}" for name, value in parts.items() if name not in ("sub", "ses")]
    session = f"ses-{parts['ses']}" if parts.get("ses") else ""
    return Candidate(
        key=VolumeKey(f"sub-{parts['sub']}", session, "_".join([*rest, suffix])),
        path=path,
        source=source_name(path, root),
        entities=entities_of(parts, suffix),
    )


def _nothing(root: Path, spec: BidsInput, suffixes: list[str], with_suffix: int) -> str:
    """Why no volume is left, and what there is instead."""
    asked = ", ".join(str(name) for name in spec.suffix)
    if with_suffix:
        given = [name for name, choice in spec.filters().items() if choice is not None]
        filters = ", ".join(given)
        return f"none of the {with_suffix} {asked} volumes of {str(root)!r} passes the filters {filters}"
    there = ", ".join(sorted({suffix for suffix in suffixes if suffix})) or "no image at all"
    return f"{str(root)!r} ({_dataset_type(root)} dataset) has no {asked} volume; it has {there}"


def _dataset_type(root: Path) -> str:
    """`raw` or `derivative`, from `dataset_description.json`; raw when that is silent."""
    try:
        file = root / "dataset_description.json"
        text = file.read_text(encoding="utf-8") if file.is_file() else "{}"
        return str(json.loads(text).get("DatasetType", "raw"))
    except (OSError, ValueError, AttributeError):
        return "raw"
