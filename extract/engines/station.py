"""What a process embeds with, whichever engine it runs under: an opened store, a device, a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cache_schema.format.header import Fingerprint, Header, require_equal
from cache_schema.format.layout import patch_layers
from cache_schema.format.numerics import FixedNumerics
from cache_schema.format.record import TableRow
from cache_schema.store.create import fixed_at, read_header
from cache_schema.store.writer import StoreWriter
from extract.backbones.backbone import Backbone
from extract.engines.device import (
    DTYPES,
    ComputeName,
    Machine,
    choose_device,
    choose_dtype,
    devices,
    require_able,
    this_machine,
)
from extract.engines.embed import Embedder
from extract.engines.header import make_header, provenance
from extract.planning.config import ExtractSection

OTHERS = "with this backbone and these settings (here) embeddings would be others than are wanted (there)"
ANOTHER = (
    "Nothing was embedded: set no step otherwise, and give the checkpoint that is meant (--backbone FOLDER)."
)


@dataclass(frozen=True, slots=True)
class BuiltBackbones:
    """The backbones of a run; stores that embed with the same one share its weights."""

    _built: list[tuple[tuple[Any, ...], Backbone]] = field(default_factory=list)

    def of(self, section: ExtractSection, base: Path, device: torch.device, dtype: torch.dtype) -> Backbone:
        """A section's backbone, built now or by another store."""
        asked = (section.layers, "cls_attention" in section.tokens, patch_layers(section.tokens))
        key = (section.backbone, section.preprocessing.pixels, *asked, section.offline, device, dtype)
        for other, backbone in self._built:
            if other == key:
                return backbone
        backbone = section.build_backbone(base, device, dtype)
        self._built.append((key, backbone))
        return backbone


@dataclass(slots=True)
class Station:
    """Open it with `open_station`; `embedder` settles by which arithmetic this store is embedded."""

    section: ExtractSection
    base: Path
    """Folder that relative paths start from."""
    writer: StoreWriter
    machine: Machine
    device: torch.device
    compute: ComputeName
    _backbone: Backbone
    _built: BuiltBackbones
    notes: list[str] = field(default_factory=list)

    def embedder(self) -> Embedder:
        """Fix the store's numerics, or obey those that somebody else has fixed, and make ready to embed.

        Raises:
            MachineError: If this machine cannot obey.
        """
        made = provenance(self.device, self.base, self.section.batch_size, {})
        wanted = self.writer.header.numerics.model_copy(update={"compute_dtype": self.compute})
        self._obey(self.writer.fix_numerics(wanted, self.device.type, made))
        names = frozenset(spec.name for spec in self.writer.header.arrays)
        steps = self.section.preprocessing.for_backbone(self._backbone.normalised)
        return Embedder(self._backbone, self.device, names, self.section.batch_size, steps.mean, steps.std)

    def _obey(self, fixed: FixedNumerics) -> None:
        """Take the device and the dtype that were fixed."""
        device = choose_device(self.section.device, self.machine, fixed.device)
        compute = choose_dtype(self.section.dtype, device, self.machine, fixed.numerics.compute_dtype)
        require_able(compute, device, self.machine)
        if device.type != fixed.device:
            self.notes.append(
                f"the store was begun on {fixed.device}, and this embeds on {device.type}: equal to "
                "rounding, and not bit for bit"
            )
        if (device, compute) != (self.device, self.compute):
            self.device, self.compute = device, compute
            self._backbone = self._built.of(self.section, self.base, device, DTYPES[compute])


def open_station(
    section: ExtractSection,
    base: Path,
    location: str,
    rows: Sequence[TableRow],
    *,
    longest: int,
    wanted: Fingerprint | None = None,
    built: BuiltBackbones | None = None,
) -> Station:
    """Build the backbone, and create the store or open the one that is there.

    Args:
        section: The validated `extract` section.
        base: Folder that relative paths start from.
        location: Of the store.
        rows: Volumes that will be written; those that have a row keep it.
        longest: Most slices of a volume, by which the chunks of a new store are cut.
        wanted: What the store's embeddings must be; nothing is written where they would be others.
        built: What other stores of the run embed with.

    Raises:
        StoreMismatch: If the store was made otherwise, or the section says others than are wanted.
    """
    machine, existing, fixed = this_machine(), read_header(location), fixed_at(location)
    found = None if existing is None else existing.numerics.compute_dtype
    # One that is not here is refused when there is something to embed, and not before.
    begun_on = fixed.device if fixed is not None and fixed.device in devices(machine) else None
    device = choose_device(section.device, machine, begun_on)
    compute = choose_dtype(section.dtype, device, machine, found)
    built = built or BuiltBackbones()
    backbone = built.of(section, base, device, DTYPES[compute])
    header = new_header(backbone, section, base, device, longest)
    if wanted is not None:
        require_equal(header.fingerprint, wanted, OTHERS, ANOTHER)
    writer = StoreWriter.open(location, header, rows, durable=section.fsync)
    return Station(section, base, writer, machine, device, compute, backbone, built)


def new_header(
    backbone: Backbone, section: ExtractSection, base: Path, device: torch.device, longest: int
) -> Header:
    """The header that a store of a section gets, `auto` left open."""
    configuration: dict[str, Any] = section.model_dump(mode="json")
    return make_header(
        backbone,
        section.preprocessing,
        tokens=section.tokens,
        compute=section.dtype,
        storage=section.storage,
        slice_chunk=max(1, longest),
        created=provenance(device, base, section.batch_size, configuration),
    )
