"""The table of `slicecache backbone list`."""

from dataclasses import asdict, dataclass
from typing import Any

from extract.fetch.names import listed

GATED = (
    "gated: its owner wants to know who; accept the licence on the repository's page, then `hf auth login`, "
    "or set HF_TOKEN, where it is fetched"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One backbone, its sizes, and whether its weights are on this machine."""

    name: str
    parameters: int
    dim: int
    layers: int
    heads: int
    patch_size: int
    registers: int
    source: str
    licence: str
    gated: bool
    """Whether its owner lets in only who accepted the licence."""
    here: bool | None
    """None where the package that keeps the cache is not installed."""

    def as_json(self) -> dict[str, Any]:
        """The row as JSON data."""
        return asdict(self)


def list_backbones() -> list[Listed]:
    """Every backbone that has a name."""
    rows = []
    for name, spec, shape in listed():
        try:
            here = spec.missing() is None
        except ModuleNotFoundError:
            here = None
        sizes = (shape.dim, shape.layers, shape.heads, shape.patch_size, shape.registers)
        rows.append(Listed(name, shape.count(), *sizes, spec.source(), spec.licence, spec.gated, here))
    return rows


def cache_folder() -> str:
    """Where weights of repositories are looked for; empty where nothing keeps them."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        return ""
    return str(constants.HF_HUB_CACHE)


def listing_text(rows: list[Listed]) -> str:
    """The table, and how other backbones are named."""
    head = (
        "name",
        "parameters",
        "dim",
        "layers",
        "heads",
        "patch",
        "registers",
        "licence",
        "gated",
        "weights",
        "here",
    )
    cells = [head] + [
        (
            row.name,
            f"{row.parameters / 1e6:.1f} M",
            *(str(n or "-") for n in (row.dim, row.layers, row.heads, row.patch_size)),
            str(row.registers),
            row.licence or "-",
            "yes" if row.gated else "no",
            row.source,
            {True: "yes", False: "no", None: "unknown"}[row.here],
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    cache = cache_folder()
    looked = (
        f"weights of repositories are looked for in {cache}"
        if cache
        else ("weights of repositories need: pip install 'slicecache[extract]'")
    )
    return "\n".join(
        [
            *lines,
            "",
            f"{looked}; `slicecache backbone fetch NAME` gets them, `... show NAME` looks at them",
            GATED,
            "also: dinov2/OWNER/NAME (a repository in this format), huggingface/OWNER/NAME (what "
            "transformers knows), `path:` (a folder), `kind: custom`",
        ]
    )
