"""The names of what can be asked for; imports nothing, since the command's help names them too."""

from typing import Literal

Format = Literal["anndata", "xarray", "huggingface", "bids", "mlflow"]
Rows = Literal["volume", "slice"]
"""Of AnnData: a row is a volume, the mean of its slices, or a slice."""
ENDINGS: dict[str, Format] = {".h5ad": "anndata", ".nc": "xarray"}
"""Of the formats that are one file."""
