"""Somebody else's backbone, `{kind: custom, target: "package.module:Name", options: {...}}`.

The target is a class (or a function that makes one, called with the options), or in Python the object
itself. What is made is any callable with

- `dim` and `patch_size`, whole numbers,
- a call from pixels `(n, 3, height, width)`, normalised by `extract.normalise`, to a mapping of `patches`
  `(n, rows, cols, dim)` and, where it has them, `cls` and `pooled` `(n, dim)`, `cls_attention`
  `(n, head, rows, cols)`, `registers` `(n, registers, dim)`, and tokens of earlier blocks by array name, e.g.
  `cls_l08` and `patches_l08`.

It may also say `mean` and `std` (what its pixels must be normalised with), `largest_token` (a bound on its
numbers), and `identity` (a text that a change of its code changes). A `torch.nn.Module` is named by the
digest of its `state_dict`; what has no weights is named by `identity` and refused without one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cache_schema.common.custom import CustomSpec, resolve
from cache_schema.common.errors import ConfigError
from extract.backbones.backbone import NamedBackbone

if TYPE_CHECKING:
    from extract.backbones.adapter import CustomNetwork


class CustomBackboneSpec(NamedBackbone, CustomSpec):
    """A target and its options; nothing is imported before the backbone is built."""

    def source(self) -> str:
        """The target."""
        return f"whatever {self.target!r} loads"

    def load(self, offline: bool = False) -> CustomNetwork:
        """Find the target and make the network.

        Raises:
            ConfigError: If nobody permitted the target, or what it gives is no backbone.
        """
        from extract.backbones.adapter import CustomNetwork

        part, options = resolve(self.target, "backbone"), self._json_options()
        whole = not isinstance(part, type) and hasattr(part, "dim")
        if whole and options:
            raise ConfigError(f"the backbone {self.target!r} is given whole, so it takes no options")
        return CustomNetwork(part if whole else part(**options), self.target, options)

    def _json_options(self) -> dict[str, Any]:
        """The options as JSON gives them back: they stand in the fingerprint."""
        found: dict[str, Any] = json.loads(json.dumps(self.options))
        return found
