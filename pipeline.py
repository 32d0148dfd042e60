"""The conductor: the `slicecache` command."""


def main() -> None:
    """Entry point."""
