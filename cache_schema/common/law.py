"""A law that was found broken."""


class LawError(AssertionError):
    """A part does not keep a law that the engine relies on; `law` is its name."""

    def __init__(self, law: str, found: str) -> None:
        """Say which law, and what was found instead."""
        super().__init__(f"{law}: {found}")
        self.law = law


def hold(condition: bool, law: str, found: str) -> None:
    """Raise where a condition does not hold.

    Args:
        condition: Of the law.
        law: Its name, in a few words.
        found: What was found, what is expected, and what to do.

    Raises:
        LawError: If it is broken.
    """
    if not condition:
        raise LawError(law, found)
