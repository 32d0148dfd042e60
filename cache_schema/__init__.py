"""The contract between the stages: what a slicecache store is, how it is written, read and trusted.

    import cache_schema

    store = cache_schema.open_store("cache.zarr")
    tokens = store.read("cls")  # (volume, slice, dim), NaN beyond each volume's own slices

The names below are all that a program needs; they are looked up when they are used, so that importing this
package imports neither numpy nor zarr. Nothing here imports torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cache_schema.common.errors import ConfigError as ConfigError
    from cache_schema.common.errors import SlicecacheError as SlicecacheError
    from cache_schema.common.errors import StoreError as StoreError
    from cache_schema.common.errors import StoreMismatch as StoreMismatch
    from cache_schema.common.errors import VolumeError as VolumeError
    from cache_schema.format.header import ArraySpec as ArraySpec
    from cache_schema.format.header import BackboneIdentity as BackboneIdentity
    from cache_schema.format.header import Fingerprint as Fingerprint
    from cache_schema.format.header import Header as Header
    from cache_schema.format.header import Numerics as Numerics
    from cache_schema.format.identity import VolumeKey as VolumeKey
    from cache_schema.format.layout import token_arrays as token_arrays
    from cache_schema.format.record import Entities as Entities
    from cache_schema.format.record import Failure as Failure
    from cache_schema.format.record import Geometry as Geometry
    from cache_schema.format.record import Slices as Slices
    from cache_schema.format.record import SourceFile as SourceFile
    from cache_schema.format.record import TableRow as TableRow
    from cache_schema.format.record import UsedForeground as UsedForeground
    from cache_schema.format.record import VolumeDraft as VolumeDraft
    from cache_schema.format.record import VolumeRecord as VolumeRecord
    from cache_schema.move.export import export_store as export_store
    from cache_schema.move.export import export_volumes as export_volumes
    from cache_schema.move.export import import_store as import_store
    from cache_schema.move.merging.merge import merge_stores as merge_stores
    from cache_schema.move.merging.subset import subset_store as subset_store
    from cache_schema.move.pack import pack as pack
    from cache_schema.move.pack import unpack as unpack
    from cache_schema.move.remove import remove_participant as remove_participant
    from cache_schema.store.describe import describe_store as describe_store
    from cache_schema.store.reader import StoreReader as StoreReader
    from cache_schema.store.reader import VolumeEntry as VolumeEntry
    from cache_schema.store.reader import open_store as open_store
    from cache_schema.store.seal import seal as seal
    from cache_schema.store.writer import StoreWriter as StoreWriter
    from cache_schema.verify.verify import Verification as Verification
    from cache_schema.verify.verify import verify_store as verify_store

from cache_schema.common.lazy_names import lazy_names

_OFFERED = {
    "common.errors": ("ConfigError", "SlicecacheError", "StoreError", "StoreMismatch", "VolumeError"),
    "format.header": ("ArraySpec", "BackboneIdentity", "Fingerprint", "Header", "Numerics"),
    "format.identity": ("VolumeKey",),
    "format.layout": ("token_arrays",),
    "format.record": (
        *("Entities", "Failure", "Geometry", "Slices", "SourceFile"),
        *("TableRow", "UsedForeground", "VolumeDraft", "VolumeRecord"),
    ),
    "move.export": ("export_store", "export_volumes", "import_store"),
    "move.merging.merge": ("merge_stores",),
    "move.merging.subset": ("subset_store",),
    "move.pack": ("pack", "unpack"),
    "move.remove": ("remove_participant",),
    "store.describe": ("describe_store",),
    "store.reader": ("StoreReader", "VolumeEntry", "open_store"),
    "store.seal": ("seal",),
    "store.writer": ("StoreWriter",),
    "verify.verify": ("Verification", "verify_store"),
}
_PLACES = {name: f"{__name__}.{module}:{name}" for module, names in _OFFERED.items() for name in names}

__all__ = sorted(_PLACES)
__getattr__, __dir__ = lazy_names(__name__, _PLACES)
