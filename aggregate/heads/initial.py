"""How parameters begin: by their name, from a stream of their own."""

import zlib

import numpy as np
from numpy.typing import NDArray

TOKEN_STD = 0.02
"""Standard deviation of learned tokens and positions at the start, as vision transformers have it."""


def initial(name: str, shape: tuple[int, ...], inputs: int, seed: int) -> NDArray[np.float64]:
    """Draw one parameter of one run.

    A layer called `norm...` begins with weight 1 and bias 0; `token.*` is normal around 0 with a standard
    deviation of 0.02; everything else is uniform within 1/sqrt(inputs) of 0, weight and bias alike, which
    is `torch.nn.Linear`'s default.

    Args:
        name: Of the parameter; its CRC-32 names the PCG64 stream.
        shape: Of one run.
        inputs: Numbers that the layer reads.
        seed: Of the run.
    """
    *_, layer, kind = name.split(".")
    if layer.startswith("norm"):
        return np.full(shape, float(kind == "weight"))
    stream = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    if layer == "token":
        return stream.normal(0, TOKEN_STD, shape)
    bound = inputs**-0.5
    return stream.uniform(-bound, bound, shape)
