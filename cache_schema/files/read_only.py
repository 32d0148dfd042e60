"""What all objects have in common that are read and never written: one file, or behind a URL."""

from typing import NoReturn

from cache_schema.common.errors import StoreError


class ReadOnly:
    """Objects that refuse every change."""

    where: str
    """Their place, as messages say it."""

    def put(self, name: str, data: bytes) -> None:
        """Refuse."""
        self._refuse()

    def create(self, name: str, data: bytes) -> bool:
        """Refuse."""
        self._refuse()

    def delete(self, name: str) -> None:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        """Say what makes a folder of it, which can be written to."""
        raise StoreError(f"{self.where!r} is read only; `slicecache cache import` makes a folder of it")
