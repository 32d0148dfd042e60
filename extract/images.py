"""Images in place of a store: embedded as a bundle's training was, then read as any other store."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache_schema.common.errors import ConfigError, MachineError
from cache_schema.common.pipeline_file import Pipeline, apply_override
from cache_schema.common.prove import Prove
from cache_schema.common.text.counts import counted
from cache_schema.common.text.mistakes import shown
from cache_schema.store.reader import StoreReader, open_store
from cache_schema.store.wanted import WantedStore
from extract.arithmetic.arithmetic import arithmetic_of, require_engine
from extract.engines.device import choose_device, require_able, this_machine
from extract.extraction import run_extraction
from extract.outcome import Outcome
from extract.planning.config import ExtractSection
from extract.planning.like import section_like
from extract.said import describe_extraction
from extract.sources.given import input_of

Where = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""A BIDS folder, a manifest, image files, or a mapping as below `extract.input`."""


class Images:
    """Images to predict for: `sc.predict` embeds them first, and skips what is there already.

    Backbone and preprocessing are the bundle's; where the weights at hand are not its own, that is refused
    before anything is embedded. Run again after any interruption, it goes on from what is committed.

    Example:
        >>> found = sc.predict("runs/demo", sc.Images("data/bids", "new/cache.zarr"))
        >>> sc.predict("runs/demo", sc.Images("scan.nii.gz", "one.zarr", workers=0))
    """

    def __init__(
        self,
        where: Where,
        store: str | Path,
        *,
        folder: str | Path | None = None,
        backbone: str | Path | None = None,
        progress: bool = False,
        **keys: Any,
    ) -> None:
        """Nothing is read before a bundle asks for it.

        Args:
            where: A BIDS folder, a manifest, an image file or several, or a mapping as below `extract.input`.
            store: Where embeddings are kept; a store that is there already goes on.
            folder: For `failures.tsv`; by default the store's name with `-images` in place of `.zarr`.
            backbone: Folder of the checkpoint, where it is not where it was at training.
            progress: Whether to report on standard error.
            **keys: Further keys of the `extract` section, e.g. `workers=0`, `device="cpu"`.
        """
        self.where, self.store = where, os.fspath(store)
        self.folder = Path(folder) if folder is not None else beside(self.store)
        self.backbone = None if backbone is None else Path(backbone)
        self.progress, self.keys = progress, keys
        self.overrides: Sequence[str] = ()
        """`input.suffix=T2w` and the like, as the command line has them; `extract.` may stand before."""
        self.outcome: Outcome | None = None
        """What was embedded, once it was; its `failures` say why something was not."""

    def store_for(self, wanted: WantedStore, prove: Prove = "crc32c") -> StoreReader:
        """Embed what is not there yet.

        Args:
            wanted: What must come of it.
            prove: What numbers are held to when they are read.

        Returns:
            The store, as if it held these images alone.

        Raises:
            ConfigError: If the images cannot be understood, or the weights are not here.
            StoreMismatch: If the weights are others, or the store holds other embeddings.
            MachineError: If the machine fails; what was committed stays.
        """
        pipeline = Pipeline(self._sections(wanted), Path.cwd())
        section = pipeline.section("extract", ExtractSection)
        self.outcome = run_extraction(pipeline, section, self.progress, wanted=wanted.fingerprint)
        return open_store(pipeline.store(), prove, frozenset(self.outcome.volumes))

    def __repr__(self) -> str:
        where = "given by a mapping" if isinstance(self.where, Mapping) else shown(self.where)
        done = "not embedded yet" if self.outcome is None else counted(len(self.outcome.volumes), "volume")
        return f"<Images {where} for {self.store!r}, {done}>"

    @property
    def failed(self) -> int:
        """Images that could not be embedded."""
        return 0 if self.outcome is None else self.outcome.failed

    def told(self) -> str:
        """What was embedded, in a few lines."""
        return "" if self.outcome is None else describe_extraction(self.outcome)

    def as_json(self) -> dict[str, Any]:
        """What was embedded, as JSON data."""
        return {} if self.outcome is None else self.outcome.as_json()

    def _sections(self, wanted: WantedStore) -> dict[str, Any]:
        """The pipeline that embeds them."""
        where = self.where
        given = dict(where) if isinstance(where, Mapping) else input_of(where, wanted.making.get("input"))
        section = {**section_like(wanted, self.backbone), "input": given}
        for name, value in self.keys.items():
            merged = isinstance(value, Mapping) and name == "input"
            section[name] = {**given, **value} if merged else value
        data: dict[str, Any] = {
            "run": {"folder": str(self.folder)},
            "cache": {"store": self.store},
            "extract": section,
        }
        for override in self.overrides:
            apply_override(data, f"extract.{override.removeprefix('extract.')}")
        if not section.keys() & {"dtype", "engine"}:
            section.update(_arithmetic(wanted, str(section.get("device", "auto"))))
        return data


def _arithmetic(wanted: WantedStore, device: str) -> dict[str, str]:
    """The bundle's own, where this device can; a difference in arithmetic alone is a warning."""
    machine = this_machine()
    if device not in ("auto", "cpu", "cuda", "mps"):
        return {}
    try:
        arithmetic = arithmetic_of(wanted.numerics)
        if arithmetic is None:
            return {}
        on_cpu = arithmetic.engine == "openvino" and device == "auto"
        chosen = choose_device("cpu" if on_cpu else device, machine)  # type: ignore[arg-type]
        require_able(arithmetic.compute, chosen, machine)
        require_engine(arithmetic, chosen)
    except (ConfigError, MachineError):
        return {}
    return {"dtype": arithmetic.compute, "engine": arithmetic.engine}


def beside(store: str) -> Path:
    """The folder of what an extraction for a prediction leaves beside its store."""
    name = store.rstrip("/").removesuffix(".zarr")
    return Path(f"{name.rpartition('/')[2]}-images" if "://" in store else f"{name}-images")
