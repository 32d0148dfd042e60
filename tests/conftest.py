"""Fixtures that more than one room's tests use."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images that lies beside a developer's checkout; tests skip without it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images are not on this machine")
    return folder
