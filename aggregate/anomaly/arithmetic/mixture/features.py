"""What a mixture is fitted to: tokens of length 1, some principal directions of them, their place.

Order: length 1; with `size`, the first principal directions about the mean, at length 1 again; with
`place`, column and row from -1 to 1 behind them.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


class TokenFeatures:
    """Makes float64 features of the tokens of slices; principal directions come from a pass of their own."""

    def __init__(self, dim: int, size: int | None, place: bool) -> None:
        self.size = size
        self.place = place
        self.dim = dim
        self.plain = dim + 2 * place
        """Numbers of a token and its place."""
        self.width = (size or dim) + 2 * place
        """Of a feature vector."""
        self.moments = torch.zeros(0 if size is None else dim + 1, dim, dtype=torch.float64)
        """Sum of the tokens' products, and below them that of the tokens."""
        self.n_seen = 0
        self.centre = torch.zeros(0, dtype=torch.float64)
        self.directions = torch.zeros(0, dim, dtype=torch.float64)

    @property
    def none(self) -> bool:
        """Whether features are the tokens at length 1."""
        return self.size is None and not self.place

    def observe(self, tokens: Float[Tensor, "token plain"]) -> None:
        """Take in tokens before the directions are known."""
        if self.size is None:
            return
        own = tokens[:, : self.dim]
        self.moments[:-1].addmm_(own.T, own)
        self.moments[-1] += own.sum(0)
        self.n_seen += len(own)

    def settle(self) -> None:
        """Find the directions, if there was a token; the greatest loading of each is positive."""
        if self.size is None or not self.n_seen:
            return
        self.centre = self.moments[-1] / self.n_seen
        scatter = self.moments[:-1] / self.n_seen - torch.outer(self.centre, self.centre)
        vectors = torch.linalg.eigh(scatter).eigenvectors.flip(1)[:, : self.size].T
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        self.directions = (vectors * largest.sign()).contiguous()
        self.moments = self.moments[:0]

    def tokens(self, patches: Float[Tensor, "slice row col dim"]) -> Float[Tensor, "token plain"]:
        """Tokens at length 1, float64, and their places; a token of zeros stays one."""
        tokens = normalize(patches.flatten(0, 2).double(), dim=1)
        if not self.place:
            return tokens
        n, rows, cols, _ = patches.shape
        down, across = torch.meshgrid(_steps(rows), _steps(cols), indexing="ij")
        place = torch.stack([across, down], 2).expand(n, rows, cols, 2).reshape(-1, 2)
        return torch.cat([tokens, place], 1)

    def of(self, tokens: Float[Tensor, "token plain"]) -> Float[Tensor, "token width"]:
        """Features of tokens; the directions must be known."""
        if self.size is None:
            return tokens
        found = normalize((tokens[:, : self.dim] - self.centre) @ self.directions.T, dim=1)
        return torch.cat([found, tokens[:, self.dim :]], 1)

    def state(self) -> dict[str, Tensor]:
        """What was found; before that, what was seen."""
        if self.size is None:
            return {}
        if len(self.directions):
            return {"pca.centre": self.centre.clone(), "pca.directions": self.directions.clone()}
        return {"pca.moments": self.moments.clone(), "pca.seen": torch.tensor(self.n_seen)}

    def shapes(self, state: Mapping[str, Tensor]) -> dict[str, tuple[int | None, ...]]:
        """Of the tensors that `state` gives, found or seen."""
        if self.size is None:
            return {}
        if "pca.moments" in state:
            return {"pca.moments": (self.dim + 1, self.dim), "pca.seen": ()}
        return {"pca.centre": (self.dim,), "pca.directions": (self.size, self.dim)}

    def load(self, found: Mapping[str, Tensor]) -> None:
        """Take tensors of those shapes."""
        if "pca.moments" in found:
            self.moments, self.n_seen = found["pca.moments"].clone(), int(found["pca.seen"])
        elif "pca.centre" in found:
            self.centre, self.directions = found["pca.centre"], found["pca.directions"]


def _steps(n: int) -> Float[Tensor, " n"]:
    """From -1 to 1; of one, -1."""
    return torch.linspace(-1, 1, n, dtype=torch.float64)
