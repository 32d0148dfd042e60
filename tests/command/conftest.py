"""Fixtures of the Python interface's tests."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from cache_schema.store.reader import StoreReader

N = 24


@pytest.fixture
def table() -> pd.DataFrame:
    """Labels."""
    names = [f"{i:03d}" for i in range(N)]
    return pd.DataFrame(
        {"participant_id": names, "diagnosis": ["control", "patient"] * (N // 2), "age": range(50, 50 + N)}
    )


@pytest.fixture
def store(make_store: Callable[[Sequence[Any]], StoreReader], scan: type) -> str:
    """A store in which patients' tokens are shifted."""
    return make_store([scan(f"{i:03d}", n_slices=2 + i % 4, shift=1.5 * (i % 2)) for i in range(N)]).location
