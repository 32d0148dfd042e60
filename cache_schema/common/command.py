"""The machinery of the command line: verbs that are imported when they run, and endings as exit codes.

A verb is a function whose annotations say its options and that returns an exit code, or a `typer.Typer` of
such functions.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cache_schema.common.errors import MachineError, SlicecacheError
from cache_schema.common.lazy_names import imported

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
STOPPED = "stopped; what was committed stays, and the same command goes on from there"
DEBUG = "--debug"
NAME = "slicecache"

EXTRAS = {
    "nibabel": "extract",
    "PIL": "extract",
    "huggingface_hub": "extract",
    "torch": "extract,aggregate",
    "scipy": "extract,aggregate",
    "safetensors": "extract,aggregate",
    "rich": "extract,aggregate",
    "jaxtyping": "aggregate",
    "pandas": "aggregate",
    "sklearn": "aggregate",
    "jinja2": "report",
    "matplotlib": "report",
    "nilearn": "simulate",
    "obstore": "remote",
}
"""Import name -> the extra that brings it."""

ClickError: Any = typer.BadParameter.__mro__[2]
"""What every mistake in using a command derives from; Typer gives it no public name."""


class VerbGroup(TyperGroup):
    """A group that says its help to whoever names no verb."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Without a word, the help on standard error and the exit code of a mistake."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


def application(cls: type[TyperGroup] = VerbGroup, **settings: Any) -> typer.Typer:
    """A Typer that writes plain text, in a pipe as on a terminal, and leaves endings to `guarded`."""
    return typer.Typer(
        cls=cls,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
        **settings,
    )


def as_command(name: str, verb: Any) -> Any:
    """A verb as what Typer runs."""
    if isinstance(verb, typer.Typer):
        return get_command(verb)
    alone = application(add_completion=False)
    alone.command(name)(verb)
    return get_command(alone)


class LazyGroup(VerbGroup):
    """A group whose verbs are imported when one is used, not when they are listed."""

    verbs: Mapping[str, tuple[str, str]] = {}
    """Name -> where it lives (`module:name`), and its line in the help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(self.verbs)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one verb."""
        if cmd_name in self.verbs:
            return as_command(cmd_name, imported(self.verbs[cmd_name][0]))
        if not ctx.resilient_parsing:
            near = get_close_matches(cmd_name, self.verbs, n=1)
            ctx.fail(f"No such command {cmd_name!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the verbs from the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.verbs.items()])

    def main(self, *given: Any, **named: Any) -> Any:
        """Under the command's own name, however it was started."""
        return super().main(*given, **{"prog_name": NAME, **named})

    def make_context(self, *given: Any, **named: Any) -> Any:
        """Read the command line; help and version print here."""
        with _endings():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        with _endings():
            return super().invoke(ctx)


@contextmanager
def _endings() -> Iterator[None]:
    """What Typer would turn into exit codes of its own is ours to say."""
    try:
        yield
    except (typer.Abort, KeyboardInterrupt):
        typer.echo(STOPPED, err=True)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        raise typer.Exit(141) from None


def lazy_group(verbs: Mapping[str, tuple[str, str]], root: Callable[..., None]) -> Any:
    """The command of a table of verbs; `root` holds the command's own help and options."""
    group = type("Verbs", (LazyGroup,), {"verbs": verbs})
    app = application(cls=group)
    app.callback()(root)
    return get_command(app)


def guarded(command: Callable[..., Any], arguments: Sequence[str] | None = None) -> int:
    """Run a command and turn every expected ending into an exit code; `--debug` shows where it came from.

    Returns:
        0 when all was done, 1 when some volumes failed, 2 for a mistake in what was asked or given, 3 when
        the machine failed, 130 when it was stopped, 141 when nobody read what it wrote.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = command(args=[word for word in given if word != DEBUG], standalone_mode=False)
    except SystemExit as ending:  # of --install-completion
        return ending.code if isinstance(ending.code, int) else 2
    except Exception as error:
        if (told := in_words(error)) is None:
            raise
        if DEBUG in given:
            traceback.print_exc()
        typer.echo(f"slicecache: {told}", err=True)
        return 3 if isinstance(error, MachineError) else 2
    except KeyboardInterrupt:
        typer.echo(STOPPED, err=True)
        return 130
    return result if isinstance(result, int) else 0


def in_words(error: Exception) -> str | None:
    """An expected mistake in one sentence, with a hint below it; None for what nobody expected."""
    if isinstance(error, SlicecacheError):
        return str(error)
    if isinstance(error, ClickError):
        context: Any = getattr(error, "ctx", None)
        hint = f"\ntry: {context.command_path} --help" if context is not None else ""
        return " ".join(error.format_message().replace("Value error, ", "").split()) + hint
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is not None:
            return f"this command needs {error.name}: pip install 'slicecache[{extra}]'"
    return None


def leave(code: int) -> None:
    """End the process; a reader that has gone must not be written to once more on the way out."""
    if code == 141:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
