"""The card of an exported dataset: what the tokens are, how they were made, what must not be done."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import yaml

from aggregate.interop.source import Source
from cache_schema.common.text.counts import counted
from cache_schema.format.header import ArraySpec

TO_FILL = "TO BE FILLED"
WORDS = {
    "cls": "the CLS token of a slice",
    "patch_mean": "the mean patch token of a slice, weighted by the patches' share of the foreground",
    "patches": "the patch tokens of a slice, on their grid",
    "registers": "the register tokens of a slice",
    "cls_attention": "attention of the CLS token within a slice, by head",
}
"""What an array is, by its name without the block it is from."""


def card(source: Source, specs: Sequence[ArraySpec]) -> str:
    """The text of `README.md`, with the YAML block that the Hub reads."""
    entries = source.store.entries
    counts = [entry.n_slices for entry in entries]
    people = len({entry.key.participant_id for entry in entries})
    header = {
        "license": TO_FILL,
        "pretty_name": f"Embeddings of {len(entries)} brain MRI volumes",
        "tags": ["medical", "brain", "mri", "embeddings", "slicecache"],
        "size_categories": [_size(len(entries))],
    }
    print_ = source.store.header.fingerprint
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        f"# {header['pretty_name']}",
        "",
        f"Every kept {print_.plane} slice of {counted(len(entries), 'volume')} of "
        f"{counted(people, 'participant')} ({min(counts)} to {max(counts)} slices a volume), each "
        "as what a frozen image backbone made of it;",
        "a row is a volume.",
        "There are no images in it, and no code is needed to load it:",
        "",
        "```python",
        "from datasets import load_from_disk",
        "",
        'rows = load_from_disk("FOLDER").with_format("numpy")',
        f'rows[0]["{specs[0].name}"], rows[0]["height_mm"]',
        "```",
        "",
        "## Columns",
        "- `participant_id`, `session_id` (empty where there is none), `volume_id`: whose volume it is",
        "- `slice_index`, `height_mm` (below the vertex), `world_z_mm`: where each slice lies, low to high",
        *(f"- `{spec.name}` ({_shape(spec)}; {spec.dtype}): {words(spec)}" for spec in specs),
        *(f"- `{name}`: from the cohort table" for name in source.columns.columns),
        "",
        "## How it was made",
        f"By slicecache {version('slicecache')}. Tokens of two datasets may be compared only if their",
        "fingerprints are equal.",
        "",
        *_facts(source.said),
        "",
        "## What must not be done with it",
        "- It is no medical device: nothing read off it may decide anybody's diagnosis or treatment.",
        "- Nobody in it may be sought out: not by these numbers, not by linking them with other data.",
        "  Embeddings of a head can hold age, sex, site and scanner, and may suffice to find a person again.",
        "- It may not go where the consent of its participants, or the terms of the images, do not let the",
        "  images themselves go; whoever withdraws must be taken out of every copy.",
        "- Scores of models trained on it say nothing of another scanner, site or protocol until measured.",
        "",
        "## What the maker of this dataset fills in",
        f"- Licence: {TO_FILL}",
        f"- Cohort, consent and ethics approval: {TO_FILL}",
        f"- Terms of the images and of the backbone's weights: {TO_FILL}",
        f"- Contact: {TO_FILL}",
        "",
    ]
    return "\n".join(lines)


def words(spec: ArraySpec) -> str:
    """What an array holds."""
    name, _, layer = spec.name.partition("_l")
    told = WORDS.get(name) or WORDS.get(spec.name) or "of a backbone of the maker's own"
    return f"{told}, behind block {int(layer)}" if layer.isdigit() else told


def _shape(spec: ArraySpec) -> str:
    return ", ".join(
        ["slice", *(f"{n} {name}" for name, n in zip(spec.dims[2:], spec.item_shape, strict=True))]
    )


def _facts(said: dict[str, str]) -> list[str]:
    """Identity and provenance, a line each; JSON as code, so that nothing in it is read as a mark."""
    found = []
    for name, text in said.items():
        value: Any = json.loads(text) if text[:1] in "[{" else text
        found.append(f"- {name}: `{json.dumps(value, ensure_ascii=True).replace('`', '')}`")
    return found


def _size(rows: int) -> str:
    """The Hub's word for a number of rows."""
    bounds = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for bound, name in bounds if rows < bound), "1M<n<10M")
