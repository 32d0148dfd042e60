"""A network of `transformers` in our interface: fed as its own processor feeds it, held to its sizes."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cache_schema.common.errors import ConfigError
from cache_schema.format.header import BackboneIdentity
from extract.backbones.attention import cls_attention
from extract.backbones.backbone import MeanAndStd, Tokens, layer_name
from extract.backbones.huggingface.layout import Layout
from extract.backbones.huggingface.queries import LastQueries
from extract.backbones.transformer import token_bound
from extract.slices.sides import Canvas, sides


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a network before it is placed."""

    layout: Layout
    offers: frozenset[str]
    normalised: MeanAndStd | None
    where: str
    """Names the checkpoint in errors."""


class PretrainedBackbone:
    """A placed network."""

    def __init__(
        self,
        network: Any,
        described: Described,
        identity: BackboneIdentity,
        grid: tuple[int, int],
        attention: bool,
        patch_layers: Sequence[int] = (),
    ) -> None:
        """Nothing is computed before `look`."""
        layout = described.layout
        self.identity, self.grid, self.dim, self.heads = identity, grid, layout.dim, layout.heads
        self.offers, self.normalised = described.offers, described.normalised
        self._network, self._layout, self._where = network, layout, described.where
        self._takes = inspect.signature(network.forward).parameters
        self._norm = _final_norm(network, layout.family.norm)
        self.largest_token = self._bound()
        self._inner: dict[int, Tensor] = {}
        self._patch_layers, self.registers = patch_layers, layout.registers
        self._watch_layers()
        self._queries = LastQueries(network) if "cls_attention" in self.offers else None
        self._attention = attention

    def look(self, canvas: Canvas, device: torch.device) -> None:
        """Embed a made-up slice twice, and hold the answers to the sizes and to each other.

        Raises:
            ConfigError: If the network does not take the canvas, gives other tokens than its layout says,
                lacks what is asked for, or answers one slice in two ways.
        """
        seen = torch.randn(1, 3, *sides(canvas), generator=torch.Generator().manual_seed(0)).to(device)
        before = self._tried(seen, canvas).last_hidden_state
        if self._queries is not None and not self._queries.settle():
            self._queries, self.offers = None, self.offers - {"cls_attention"}
        if self._attention and self._queries is None:
            raise ConfigError(f"{self._where} gives no cls_attention, which the pipeline asks for")
        if not self._attention:
            self._queries = None
        answer = self._tried(seen, canvas)
        self._tokens(answer, 1)
        if not torch.equal(before, answer.last_hidden_state):
            raise ConfigError(f"{self._where} answers one slice in two ways: it masks or drops at random")

    def __call__(self, pixels: Tensor) -> Tokens:
        """Embed normalised pixels `(slice, 3, height, width)`."""
        return self._tokens(self._answer(pixels), len(pixels))

    def _tried(self, pixels: Tensor, canvas: Canvas) -> Any:
        """An answer; raises ConfigError where the network refuses a canvas."""
        try:
            return self._answer(pixels)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError) as error:
            said = " ".join(str(error).split())
            raise ConfigError(
                f"{self._where} does not take a canvas of {canvas} px: {said}; set extract.canvas"
            ) from error

    def _answer(self, pixels: Tensor) -> Any:
        """What the network gives."""
        with torch.inference_mode():
            return self._network(**self._inputs(pixels.to(self._network.dtype)))

    def _inputs(self, pixels: Tensor) -> dict[str, Any]:
        """What its processor would give it of these pixels."""
        rows, cols = self.grid
        if "spatial_shapes" in self._takes:
            whole = torch.ones(len(pixels), rows * cols, dtype=torch.int64, device=pixels.device)
            shapes = torch.tensor([[rows, cols]]).expand(len(pixels), -1)
            cut = flat_patches(pixels, self.grid)
            return {"pixel_values": cut, "pixel_attention_mask": whole, "spatial_shapes": shapes}
        inputs: dict[str, Any] = {"pixel_values": pixels}
        if "interpolate_pos_encoding" in self._takes and self.identity.position_table != "native":
            inputs["interpolate_pos_encoding"] = True
        if "noise" in self._takes:  # patches are kept in its order
            inputs["noise"] = torch.arange(rows * cols, device=pixels.device).float().expand(len(pixels), -1)
        return inputs

    def _tokens(self, answer: Any, count: int) -> Tokens:
        """Our names for an answer; raises ConfigError where its sizes differ from the layout's."""
        tokens, (rows, cols), prefix = answer.last_hidden_state.float(), self.grid, self._layout.prefix
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)
        if tuple(tokens.shape) != (count, prefix + rows * cols, self.dim):
            raise ConfigError(
                f"{self._where} gives tokens of shape {tuple(tokens.shape)}, and {prefix} before "
                f"{rows} x {cols} patches of length {self.dim} are expected: say its extract.backbone.layout"
            )
        if odd := [n for n, value in self._inner.items() if value.shape != tokens.shape]:
            raise ConfigError(f"{self._where}: block {odd[0]} gives no tokens of the last one's shape")
        named = {"cls": tokens[:, 0]} if "cls" in self.offers else {}
        named |= {layer_name(n): self._normed(self._inner[n][:, 0]) for n in self.identity.layers}
        more = {
            layer_name(n, "patches"): self._normed(self._inner[n][:, prefix:]).unflatten(1, self.grid)
            for n in self._patch_layers
        }
        self._inner.clear()
        if "registers" in self.offers:
            more["registers"] = tokens[:, prefix - self.registers : prefix]
        if "pooled" in self.offers:
            named["pooled"] = answer.pooler_output.float().view(count, self.dim)
        return Tokens(named, tokens[:, prefix:].unflatten(1, self.grid), self._attended(), more)

    def _attended(self) -> Tensor | None:
        if self._queries is None:
            return None
        seen = self._queries.take()
        return cls_attention(seen.query, seen.key, self.grid, seen.scaling)

    def _normed(self, tokens: Tensor) -> Tensor:
        """An inner block's tokens behind the final norm `(..., dim)`."""
        norm: Any = self._norm
        with torch.inference_mode():
            return norm(tokens).float()

    def _bound(self) -> float | None:
        """As `Backbone.largest_token`, where the last thing that tokens go through is a layer norm."""
        norm = self._norm if self._layout.family.bounded else None
        if norm is None or norm.weight is None or norm.bias is None:
            return None
        return token_bound(norm.weight.float(), norm.bias.float())

    def _watch_layers(self) -> None:
        """Keep the tokens of the blocks that are asked for.

        Raises:
            ConfigError: If there is no CLS token, or blocks and norm are not where they usually are.
        """
        asked = sorted({*self.identity.layers, *self._patch_layers})
        if not asked:
            return
        if self.identity.layers and "cls" not in self.offers:
            raise ConfigError("extract.layers: this backbone has no CLS token whose blocks could be kept")
        blocks = _blocks(self._network, self._layout.layers)
        if blocks is None or self._norm is None:
            raise ConfigError(
                f"{self._where}: its blocks are not known here, so no tokens of theirs can be kept"
            )
        for layer in asked:
            blocks[layer - 1].register_forward_hook(self._keeper(layer))

    def _keeper(self, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _given: Any, found: Any) -> None:
            self._inner[layer] = found[0] if isinstance(found, tuple) else found

        return keep


def flat_patches(pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cut `(slice, 3, height, width)` into `(slice, patch, size * size * 3)`, channels last."""
    (slices, channels, height, width), (rows, cols) = pixels.shape, grid
    cut = pixels.view(slices, channels, rows, height // rows, cols, width // cols)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(slices, rows * cols, -1)


def _final_norm(network: nn.Module, name: str | None) -> nn.LayerNorm | None:
    """The norm behind the last block: of that name, and not inside a block."""
    found = {path: part for path, part in network.named_modules() if path.rpartition(".")[2] == name}
    norm = found[min(found, key=lambda path: path.count("."))] if found else None
    return norm if isinstance(norm, nn.LayerNorm) else None


def _blocks(network: nn.Module, count: int) -> nn.ModuleList | None:
    """The list of all blocks."""
    lists = (part for part in network.modules() if isinstance(part, nn.ModuleList) and len(part) == count)
    return next(lists, None)
