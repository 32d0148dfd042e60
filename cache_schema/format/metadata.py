"""Zarr's own metadata of a store in the plain layout, written out so that making one needs no Zarr."""

from cache_schema.format.canonical import canonical_json
from cache_schema.format.header import FORMAT, VERSION, Header
from cache_schema.format.layout import (
    HEADER,
    MARKER,
    PLAIN_CODECS,
    ArrayLayout,
    chunk_slices,
    metadata_name,
)


def metadata_objects(layouts: dict[str, ArrayLayout]) -> dict[str, bytes]:
    """The metadata of the group, with its marker, and of all arrays, by object name."""
    marker = {"format": FORMAT, "version": VERSION, "header": HEADER}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {MARKER: marker}}
    arrays = {metadata_name(name): array_metadata(layout) for name, layout in layouts.items()}
    return {"zarr.json": canonical_json(group)} | arrays


def plain_layouts(header: Header, volumes: int, slices: int) -> dict[str, ArrayLayout]:
    """How the arrays of a plain store are laid out."""
    extents = (volumes, max(slices, header.slice_chunk))
    return {
        spec.name: ArrayLayout(spec, (*extents, *spec.item_shape), chunk_slices(header, spec), plain=True)
        for spec in header.arrays
    }


def array_metadata(layout: ArrayLayout) -> bytes:
    """Zarr metadata of an array in the plain layout."""
    spec = layout.spec
    return canonical_json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": layout.shape,
            "data_type": spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": (1, *layout.chunk_shape)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": "NaN",
            "codecs": PLAIN_CODECS,
            "attributes": {},
            "dimension_names": spec.dims,
            "storage_transformers": [],
        }
    )
