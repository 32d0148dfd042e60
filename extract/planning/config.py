"""The `extract` section of a pipeline file, and what a store says of the section that it was made by."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import MAIN, Pipeline, validate
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import later
from cache_schema.format.header import Header
from cache_schema.format.layout import INNER_PATCHES, TOKENS, patch_layers
from extract.backbones.registry import BackboneSpec
from extract.slices.preprocessing import Preprocessing, StepOverrides
from extract.slices.presets import PresetName, preprocessing_of
from extract.sources.bids import BidsInput
from extract.sources.files import FilesInput
from extract.sources.find import KINDS, VolumeInput
from extract.sources.manifest import ManifestInput

if TYPE_CHECKING:
    import torch

    from extract.backbones.backbone import Backbone

Token = Annotated[str, Field(pattern=f"^({'|'.join(TOKENS)}|{INNER_PATCHES.pattern})$")]


def _input_kind(value: Any) -> str | None:
    """An input is told by its own key."""
    given = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    kinds = [kind for kind in KINDS if kind in given]
    return kinds[0] if len(kinds) == 1 else None


InputSpec = Annotated[
    Annotated[BidsInput, Tag("bids")]
    | Annotated[ManifestInput, Tag("manifest")]
    | Annotated[FilesInput, Tag("files")],
    Discriminator(
        _input_kind,
        custom_error_type="input_kind",
        custom_error_message="either `bids: FOLDER` or `manifest: TABLE` (or `files: [IMAGE]`) is expected",
    ),
]


@reads({"type": "null"})
def _nothing_said(value: Any) -> Any:
    """`coronal:` with nothing behind it is `coronal: {}`."""
    return {} if value is None else value


class EmbeddingOptions(StepOverrides):
    """How a volume becomes slices, which backbone embeds them, and which of its tokens are kept."""

    preset: PresetName = "letterbox"
    """Named preprocessing; `plane` to `normalise` beside it replace single steps."""
    backbone: BackboneSpec = Field(default={"kind": "dinov2", "size": "small"}, validate_default=True)
    """The frozen network, by its kind, e.g. `{kind: dinov2, size: base}`."""
    tokens: tuple[Token, ...] = ("patch_mean",)
    """Arrays of the store; `cls` is always there where the backbone has it, e.g. `[cls, patch_mean]`."""
    layers: tuple[int, ...] = ()
    """Blocks, counted from 1, whose CLS token is kept beside the last one's, e.g. `[8, 10]`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute dtype; `auto` is resolved once, by measuring, when the first volume is embedded."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What multiplies in the backbone; `auto` as above, `openvino` on CPUs only."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the backbone runs; `auto` takes a GPU where there is one."""
    batch_size: int = Field(default=64, ge=1)
    """Slices per forward pass; halved when memory runs out."""
    offline: bool = False
    """Never look for weights on the network."""
    allow_unknown_orientation: bool = False
    """Take volumes that do not say where left and top are as their format stores them by default."""

    def build_backbone(self, base: Path, device: "torch.device", dtype: "torch.dtype") -> "Backbone":
        """The network that embeds, placed; relative paths of a checkpoint start from `base`."""
        return self.backbone.located(base).build(
            self.preprocessing.pixels,
            device,
            dtype,
            layers=self.layers,
            attention="cls_attention" in self.tokens,
            patch_layers=patch_layers(self.tokens),
            offline=self.offline,
        )

    @field_validator("tokens")
    @classmethod
    def _in_order(cls, value: tuple[Token, ...]) -> tuple[Token, ...]:
        """The order and repetition in the file do not matter."""
        return tuple(token for token in (*TOKENS, *sorted(set(value) - set(TOKENS))) if token in value)

    @field_validator("layers")
    @classmethod
    def _layers_sorted(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(layer < 1 for layer in value):
            raise ValueError("blocks are counted from 1")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _engine_runs_there(self) -> Self:
        if self.engine == "openvino" and self.device not in ("auto", "cpu"):
            raise ValueError(f"engine: openvino runs on the CPU, and device is {self.device!r}")
        return self

    @property
    def asked_device(self) -> Literal["auto", "cpu", "cuda", "mps"]:
        """The device, where the engine leaves a choice of it."""
        return "cpu" if self.engine == "openvino" else self.device

    @property
    def preprocessing(self) -> Preprocessing:
        """The preset with the section's overrides."""
        return preprocessing_of(self.preset, self, self.allow_unknown_orientation)


class StoreOptions(EmbeddingOptions):
    """What one store is made by."""

    storage: Literal["float16", "float32"] = "float16"
    """Dtype of the stored tokens."""


class NamedStoreOptions(StoreOptions):
    """What one of several stores is made by; what it does not say it takes from the keys beside `stores`."""

    @model_validator(mode="after")
    def _one_door(self) -> Self:
        if "allow_unknown_orientation" in self.model_fields_set:
            raise ValueError("allow_unknown_orientation holds for all stores: it is said beside `stores`")
        return self


StoreName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
"""What one of several stores is called: as arrays are, so that `dpmm:cls` can be told apart."""


class ExtractSection(StoreOptions):
    """What stage one reads, how it embeds it, and how the store is written."""

    input: InputSpec
    """`{bids: FOLDER, ...}`, `{manifest: TABLE, ...}` or `{files: [IMAGE, ...]}`, e.g.
    `{bids: data/cohort, suffix: T1w}`."""
    stores: dict[StoreName, Annotated[NamedStoreOptions, BeforeValidator(_nothing_said)]] = later({})
    """Several stores from one decoding, by name; the flat form is one, called `main`, e.g.
    `{main: {}, dpmm: {preset: dpmm, tokens: [patches]}}`."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that decode volumes; 0 decodes in the main one, null chooses by the machine, e.g. `4`."""
    gpus: int | None = later(None, ge=1)
    """GPUs that embed, each in a process of its own over its own share of the volumes; all that torch sees by
    default (`CUDA_VISIBLE_DEVICES` says which), and 1 embeds in the main process, e.g. `2`."""
    replace: bool = False
    """Embed volumes again whose inputs have changed (a failure otherwise) or that the store holds damaged."""
    check_hashes: bool = later(False)
    """Read all bytes of what committed volumes were made from, whatever sizes and times say."""
    check_space: bool = True
    """Refuse to begin where the disk has less room than the volumes may take at most."""
    fsync: bool = True
    """Wait for the disk after every volume, so that no power failure takes back what was committed."""

    def store(self, name: str) -> "ExtractSection":
        """The section of one store alone: its own keys, each in place of the one beside `stores`."""
        own = self.stores[name]
        given = {key: getattr(own, key) for key in own.model_fields_set}
        return self.model_copy(update={**given, "stores": {}})


@dataclass(frozen=True, slots=True)
class AskedStore:
    """One store of a run."""

    name: str
    location: str
    """Empty where the pipeline does not say it, which only planning can do without."""
    section: ExtractSection
    """Its own, without `stores`."""


def asked_stores(pipeline: Pipeline, section: ExtractSection) -> tuple[AskedStore, ...]:
    """The stores that a section makes, in the file's order; one where it names none.

    Raises:
        ConfigError: If two would lie in one place.
    """
    if not section.stores:
        return (AskedStore(MAIN, pipeline.store() if "cache" in pipeline.data else "", section),)
    places = pipeline.stores() if "cache" in pipeline.data else {}
    return tuple(AskedStore(name, places.get(name, ""), section.store(name)) for name in section.stores)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the numbers of a store came from: of its section, what making them again needs."""

    input: VolumeInput
    base: Path
    """Folder that relative paths start from."""
    backbone: BackboneSpec
    """With its paths taken from there."""
    allow_unknown_orientation: bool
    offline: bool
    batch_size: int


def origin_of(header: Header, location: str, pipeline: Pipeline | None) -> Origin:
    """How a store was made: as a pipeline says, or as the header's provenance does.

    Raises:
        ConfigError: If neither says it.
    """
    if pipeline is not None:
        section, base = _section_of(location, pipeline), pipeline.base
    else:
        configuration, folder = header.created.get("configuration"), header.created.get("folder")
        if configuration is None or folder is None:
            raise ConfigError(
                "the store's header does not say from which images it was made: give --pipeline FILE"
            )
        section = validate(ExtractSection, configuration, "header.created.configuration")
        base = Path(folder)
    return Origin(
        section.input,
        base,
        section.backbone.located(base),
        section.allow_unknown_orientation,
        section.offline,
        section.batch_size,
    )


def _section_of(location: str, pipeline: Pipeline) -> ExtractSection:
    """The section that a store is made by.

    Raises:
        ConfigError: If the pipeline makes several, and none at this place.
    """
    stores = asked_stores(pipeline, pipeline.section("extract", ExtractSection))
    place = location if "://" in location else str(Path(location).expanduser().absolute())
    found = [each.section for each in stores if each.location == place or len(stores) == 1]
    if not found:
        places = ", ".join(f"{each.name} at {each.location!r}" for each in stores)
        raise ConfigError(f"none of the pipeline's stores lies at {place!r}: {places}")
    return found[0]
