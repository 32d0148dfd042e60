"""How questions of `init` are answered: by somebody, or as `--yes` says."""

import sys
from collections.abc import Callable

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.visible import visible

Ask = Callable[[str, str | None], str]
"""A question and its default -> the answer."""


class NoDefault(ConfigError):
    """A question that `--yes` does not answer."""


def asked(question: str, default: str | None) -> str:
    """Ask on the terminal; of answers that are piped nothing is seen, so their questions end the line.

    Raises:
        ConfigError: If nobody answers.
    """
    try:
        answer: str = typer.prompt(visible(question), default=default, err=True)
    except typer.Abort as end:
        raise ConfigError("not all questions were answered, so nothing was written; see init --help") from end
    finally:
        if not sys.stdin.isatty():
            typer.echo(err=True)
    return answer.strip()


def by_default(question: str, default: str | None) -> str:
    """Answer as `--yes` does.

    Raises:
        NoDefault: If there is no default.
    """
    if default is None:
        raise NoDefault(f"--yes has no answer to {question!r}: say it by its option")
    return default
