"""The table of `slicecache backbone list`."""

from dataclasses import asdict, dataclass
from typing import Any

from extract.fetch.names import listed


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
        rows.append(Listed(name, shape.count(), *sizes, spec.source(), here))
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
    head = ("name", "parameters", "dim", "layers", "heads", "patch", "registers", "weights", "here")
    cells = [head] + [
        (
            row.name,
            f"{row.parameters / 1e6:.1f} M",
            *map(str, (row.dim, row.layers, row.heads, row.patch_size, row.registers)),
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
            f"{looked}; `slicecache backbone fetch NAME` gets them",
            "also: dinov2/OWNER/NAME (a repository in this format), `path:` (a folder), `kind: custom`",
        ]
    )
