"""Numbers of things in sentences."""


def counted(n: int, word: str) -> str:
    """`1 fold`, `5 folds`."""
    return f"{n} {word}{'' if n == 1 else 's'}"
