"""A stranger's network in our interface: named by its weights, frozen, every answer held to its sizes."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cache_schema.common.custom import stored_name
from cache_schema.common.errors import ConfigError
from cache_schema.format.header import BackboneIdentity
from extract.backbones.backbone import MeanAndStd, Tokens, layer_name
from extract.backbones.shape import patch_grid, stored_canvas
from extract.backbones.weights import weights_digest
from extract.slices.sides import Canvas, sides

OWN_POSITIONS = "own"
"""Stands where ours say how they resample a position table: here only the network knows."""


@dataclass(frozen=True, slots=True)
class CustomNetwork:
    """What a target gave, before it is placed."""

    network: Any
    target: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self._size("patch_size")

    @property
    def dim(self) -> int:
        """Length of a token."""
        return self._size("dim")

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Parameters and buffers; empty for what is no `torch.nn.Module`."""
        if not isinstance(self.network, torch.nn.Module):
            return {}
        return {name: value for name, value in self.network.state_dict().items() if torch.is_tensor(value)}

    def place(
        self,
        canvas: Canvas,
        device: torch.device,
        dtype: torch.dtype,
        layers: Sequence[int] = (),
        attention: bool = False,
        patch_layers: Sequence[int] = (),
    ) -> "CustomBackbone":
        """Freeze a copy of a module on its device, and hold its answer to a blank slice to what it declares.

        Raises:
            ConfigError: If it is no backbone, or lacks what is asked for.
        """
        grid = patch_grid(self.patch_size, canvas)
        identity = self.identity(canvas, tuple(sorted(set(layers))))
        if not callable(self.network):
            raise ConfigError(f"the backbone {self.target!r} cannot be called with pixels")
        network = self.network
        if isinstance(network, torch.nn.Module):
            # A copy: the caller's own keeps its dtype, its device and its training mode.
            network = copy.deepcopy(network).eval().requires_grad_(False).to(device, dtype)
        placed = CustomBackbone(self, network, identity, grid, dtype, attention, patch_layers)
        placed.look(torch.zeros(1, 3, *sides(canvas), device=device))
        return placed

    def identity(self, canvas: Canvas, layers: tuple[int, ...]) -> BackboneIdentity:
        """As it enters the fingerprint; the target stands in it as text and is never imported from there.

        Raises:
            ConfigError: If it has neither weights nor an `identity`.
        """
        declared, weights = self.declared(), self.weights
        if not weights and not declared:
            raise ConfigError(
                f"the backbone {self.target!r} has no weights to tell it by: give it an `identity`, a text "
                "or bytes that change whenever its tokens do"
            )
        return BackboneIdentity(
            architecture={
                "kind": "custom",
                "target": stored_name(self.target),
                "options": dict(self.options),
                "dim": self.dim,
                "patch_size": self.patch_size,
                "canvas": stored_canvas(canvas),
                **({"identity": hashlib.sha256(declared).hexdigest()} if declared and weights else {}),
            },
            weights_sha256=weights_digest(weights) if weights else hashlib.sha256(declared).hexdigest(),
            position_table=OWN_POSITIONS,
            layers=layers,
        )

    def declared(self) -> bytes:
        """The bytes of `identity`; empty where it says none."""
        value = getattr(self.network, "identity", b"")
        return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""

    def normalised(self) -> MeanAndStd | None:
        """Its `mean` and `std`, where it has both."""
        mean, std = (getattr(self.network, name, None) for name in ("mean", "std"))
        # Methods and buffers of those names are the network's own affair.
        if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
            return None
        return tuple(float(value) for value in mean), tuple(float(value) for value in std)

    def _size(self, name: str) -> int:
        value = getattr(self.network, name, None)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"the backbone {self.target!r} must have an attribute `{name}`, a whole number above 0; "
                f"it has {value!r}"
            )
        return value


class CustomBackbone:
    """A placed network of somebody else's."""

    def __init__(
        self,
        source: CustomNetwork,
        network: Any,
        identity: BackboneIdentity,
        grid: tuple[int, int],
        dtype: torch.dtype,
        attention: bool,
        patch_layers: Sequence[int] = (),
    ) -> None:
        """Nothing is computed before `look`."""
        self.identity, self.grid, self.dim, self.heads = identity, grid, source.dim, 0
        self.offers: frozenset[str] = frozenset()
        self.registers = 0
        self._inner = [layer_name(layer, "patches") for layer in sorted(set(patch_layers))]
        self.normalised, self.target = source.normalised(), source.target
        bound = getattr(network, "largest_token", None)
        self.largest_token = None if bound is None else float(bound)
        self._network, self._dtype, self._attention = network, dtype, attention

    def look(self, blank: Tensor) -> None:
        """Learn from the answer to blank slices what it offers, and how many heads it has.

        Raises:
            ConfigError: If sizes are not as declared, or a layer or the attention is asked for in vain.
        """
        found = self._answer(blank)
        self.offers = frozenset(found).intersection(("cls", "cls_attention", "pooled", "registers"))
        asked = (*map(layer_name, self.identity.layers), *self._inner)
        missing = [name for name in asked if name not in found]
        if self._attention and "cls_attention" not in found:
            missing.append("cls_attention")
        if missing:
            raise self._refusal(f"gives no {missing[0]}, which the pipeline asks for")
        if "registers" in found:
            self.registers = found["registers"].shape[1] if found["registers"].ndim == 3 else 0
        if "cls_attention" in found:
            self.heads = found["cls_attention"].shape[1] if found["cls_attention"].ndim == 4 else 0
        self._tokens(found, len(blank))

    def __call__(self, pixels: Tensor) -> Tokens:
        """Embed normalised pixels `(slice, 3, height, width)`."""
        return self._tokens(self._answer(pixels), len(pixels))

    def _answer(self, pixels: Tensor) -> dict[str, Tensor]:
        """What the network gives, as one mapping of tensors without what is None."""
        with torch.inference_mode():
            given = self._network(pixels.to(self._dtype))
        if isinstance(given, Tokens):
            given = {**given.cls, "patches": given.patches, "cls_attention": given.attention, **given.more}
        if not isinstance(given, Mapping) or not torch.is_tensor(given.get("patches")):
            raise self._refusal(f"must give a mapping with the tensor `patches`, not {type(given).__name__}")
        return {name: value.float() for name, value in given.items() if torch.is_tensor(value)}

    def _tokens(self, found: Mapping[str, Tensor], count: int) -> Tokens:
        """Hold an answer to the sizes; raises ConfigError where one differs."""
        names = [*sorted(self.offers & {"cls", "pooled"}), *map(layer_name, self.identity.layers)]
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, (count, self.dim))
        shapes |= dict.fromkeys(["patches", *self._inner], (count, *self.grid, self.dim))
        if "registers" in self.offers:
            shapes["registers"] = (count, self.registers, self.dim)
        if "cls_attention" in self.offers:
            shapes["cls_attention"] = (count, self.heads, *self.grid)
        for name, shape in shapes.items():
            if name not in found or tuple(found[name].shape) != shape:
                got = tuple(found[name].shape) if name in found else "nothing"
                raise self._refusal(f"gives {name} of shape {got}, expected {shape}")
        attention = found["cls_attention"] if self._attention else None
        beside = [*self._inner, *self.offers & {"registers"}]
        more = {name: found[name] for name in beside}
        return Tokens({name: found[name] for name in names}, found["patches"], attention, more)

    def _refusal(self, said: str) -> ConfigError:
        return ConfigError(f"the backbone {self.target!r} {said}")
