"""What a process embeds with, whichever engine it runs under: an opened store, a device, a backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cache_schema.format.header import Fingerprint, Header, Numerics, require_equal
from cache_schema.format.layout import patch_layers
from cache_schema.format.numerics import FixedNumerics
from cache_schema.format.record import TableRow
from cache_schema.store.create import fixed_at, read_header, require_same
from cache_schema.store.writer import StoreWriter
from extract.arithmetic.arithmetic import (
    REFERENCE,
    Arithmetic,
    arithmetic_of,
    in_torch,
    place_by,
    require_engine,
)
from extract.arithmetic.auto import beside_few, decided
from extract.backbones.backbone import Backbone
from extract.engines.device import (
    Machine,
    choose_device,
    devices,
    imitates_bfloat16,
    require_able,
    this_machine,
)
from extract.engines.embed import CPU_BLOCK, Embedder
from extract.engines.header import make_header, provenance
from extract.planning.config import ExtractSection

OTHERS = "with this backbone and these settings (here) embeddings would be others than are wanted (there)"
ANOTHER = (
    "Nothing was embedded: set no step otherwise, and give the checkpoint that is meant (--backbone FOLDER)."
)


@dataclass(frozen=True, slots=True)
class BuiltBackbones:
    """The backbones of a run; stores that embed with the same one share its weights."""

    _built: list[tuple[tuple[Any, ...], Arithmetic, Backbone]] = field(default_factory=list)

    def of(
        self, section: ExtractSection, base: Path, device: torch.device, arithmetic: Arithmetic
    ) -> Backbone:
        """A section's backbone, built now or by another store."""
        asked = _asked(section, device)
        for other, by, backbone in self._built:
            if (other, by) == (asked, arithmetic):
                return backbone

        def place(dtype: torch.dtype) -> Backbone:
            if arithmetic.engine != "torch":
                return self.of(section, base, device, REFERENCE)
            return section.build_backbone(base, device, dtype)

        backbone = place_by(arithmetic, place, section.preprocessing.pixels, CPU_BLOCK)
        self._built.append((asked, arithmetic, backbone))
        return backbone

    def let_go_but(self, section: ExtractSection, device: torch.device, arithmetic: Arithmetic) -> None:
        """Free those of a section that were tried, and the one that another was compiled from."""
        asked = _asked(section, device)
        self._built[:] = [each for each in self._built if each[0] != asked or each[1] == arithmetic]


def _asked(section: ExtractSection, device: torch.device) -> tuple[Any, ...]:
    """What tells the backbones of two sections apart."""
    asked = (section.layers, "cls_attention" in section.tokens, patch_layers(section.tokens))
    return (section.backbone, section.preprocessing.pixels, *asked, section.offline, device)


@dataclass(slots=True)
class Station:
    """Open it with `open_station`; `embedder` settles by which arithmetic this store is embedded."""

    section: ExtractSection
    base: Path
    """Folder that relative paths start from."""
    writer: StoreWriter
    machine: Machine
    device: torch.device
    longest: int
    """Most slices of a volume."""
    _backbone: Backbone
    _built: BuiltBackbones
    notes: list[str] = field(default_factory=list)

    def embedder(self) -> Embedder:
        """Fix the store's numerics, or obey those that somebody else has fixed, and make ready to embed.

        Raises:
            MachineError: If this machine cannot obey.
            StoreMismatch: If it was told to do otherwise.
        """
        fixed = self.writer.fixed_numerics()
        self._obey(fixed or self._fix())
        names = frozenset(spec.name for spec in self.writer.header.arrays)
        steps = self.section.preprocessing.for_backbone(self._backbone.normalised)
        return Embedder(self._backbone, self.device, names, self.section.batch_size, steps.mean, steps.std)

    def _fix(self) -> FixedNumerics:
        """Say by which arithmetic the store is embedded, unless somebody is faster."""
        numerics = self.writer.header.numerics.closed_as(self._asked())
        made = provenance(self.device, self.base, self.section.batch_size, {})
        taken = arithmetic_of(numerics)
        if taken is None:
            taken, table, said = decided(
                numerics.engine,
                numerics.compute_dtype,
                self.device,
                imitates_bfloat16(self.device, self.machine),
                place=lambda each: self._built.of(self.section, self.base, self.device, each),
                canvas=self.section.preprocessing.pixels,
                rows=CPU_BLOCK if self.device.type == "cpu" else self.section.batch_size,
                slices=self.longest * len(self.writer.rows),
                tokens=self.section.tokens,
            )
            made["auto"] = table
            few = beside_few(numerics.compute_dtype, taken, len(self.writer.rows))
            self.notes += [f"{line}; {few}" if few else line for line in said]
        wanted = numerics.model_copy(update={"compute_dtype": taken.compute, "engine": taken.engine})
        return self.writer.fix_numerics(wanted, self.device.type, made)

    def _asked(self) -> Numerics:
        """What the section says, whoever created the store."""
        asked = {"compute_dtype": self.section.dtype, "engine": self.section.engine}
        return self.writer.header.numerics.model_copy(update=asked)

    def _obey(self, fixed: FixedNumerics) -> None:
        """Take the device and the arithmetic that were fixed."""
        header = self.writer.header
        asked, found = (header.model_copy(update={"numerics": n}) for n in (self._asked(), fixed.numerics))
        require_same(self.writer.location, asked, found)
        arithmetic = arithmetic_of(fixed.numerics) or REFERENCE
        self.device = choose_device(self.section.asked_device, self.machine, fixed.device)
        require_able(arithmetic.compute, self.device, self.machine)
        require_engine(arithmetic, self.device)
        if self.device.type != fixed.device:
            self.notes.append(
                f"the store was begun on {fixed.device}, and this embeds on {self.device.type}: equal to "
                "rounding, and not bit for bit"
            )
        self._backbone = self._built.of(self.section, self.base, self.device, arithmetic)
        self._built.let_go_but(self.section, self.device, arithmetic)


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
    # One that is not here is refused when there is something to embed, and not before.
    begun_on = fixed.device if fixed is not None and fixed.device in devices(machine) else None
    device = choose_device(section.asked_device, machine, begun_on)
    built = built or BuiltBackbones()
    backbone = built.of(section, base, device, _first(section, existing))
    header = new_header(backbone, section, base, device, longest)
    if wanted is not None:
        require_equal(header.fingerprint, wanted, OTHERS, ANOTHER)
    writer = StoreWriter.open(location, header, rows, durable=section.fsync)
    return Station(section, base, writer, machine, device, longest, backbone, built)


def _first(section: ExtractSection, existing: Header | None) -> Arithmetic:
    """By which a backbone is placed to make a header: where torch is to embed, for good.

    Another engine compiles when there is something to embed, and of what it compiles torch says the identity.
    """
    if existing is None:
        return in_torch(section.engine, section.dtype)
    return in_torch(existing.numerics.engine, existing.numerics.compute_dtype)


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
        engine=section.engine,
        storage=section.storage,
        slice_chunk=max(1, longest),
        created=provenance(device, base, section.batch_size, configuration),
    )
