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
from cache_schema.common.machine import causes, is_machine, machine_words, out_of_memory
from cache_schema.common.terminal import called
from cache_schema.common.terminal.visible import visible

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
STOPPED = "stopped; what was committed stays, and the same command goes on from there"
DEBUG = "--debug"
WARNING = "WARNING: "
NAME = called.NAME
OURS = "a mistake in slicecache, or in a part from outside, and not in what was asked"

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
    "captum": "explain",
    "nilearn": "simulate",
    "obstore": "remote",
    "openpyxl": "tables",
    "pyarrow": "tables",
    "distributed": "cluster",
    "dask_jobqueue": "cluster",
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
    """Run a command and turn every ending into an exit code; `--debug` shows where it came from.

    Returns:
        0 when all was done, 1 when some volumes failed, 2 for a mistake in what was asked or given, 3 when
        the machine failed or slicecache itself, 130 when it was stopped, 141 when nobody read what it wrote.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with called.as_command(given):
            result = command(args=[word for word in given if word != DEBUG], standalone_mode=False)
    except SystemExit as ending:  # of --install-completion
        return ending.code if isinstance(ending.code, int) else 2
    except Exception as error:
        if DEBUG in given:
            error.__suppress_context__ = False  # what a notebook need not see is what is asked for here
            traceback.print_exc()
        told, code = in_words(error)
        typer.echo(f"slicecache: {told}", err=True)
        return code
    except KeyboardInterrupt:
        typer.echo(STOPPED, err=True)
        return 130
    return result if isinstance(result, int) else 0


def in_words(error: Exception) -> tuple[str, int]:
    """Any error in one sentence, a hint below it where there is one, and its exit code."""
    if isinstance(error, SlicecacheError):
        blame = isinstance(error, MachineError) or any(map(is_machine, causes(error)))
        return str(error), 3 if blame else 2
    if isinstance(error, ClickError):
        context: Any = getattr(error, "ctx", None)
        hint = f"\ntry: {context.command_path} --help" if context is not None else ""
        return " ".join(error.format_message().replace("Value error, ", "").split()) + hint, 2
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is not None:
            return f"this command needs {error.name}: pip install 'slicecache[{extra}]'", 2
    return _of_the_system(error) or (_our_mistake(error), 3)


def _of_the_system(error: Exception) -> tuple[str, int] | None:
    """What nobody put into words where it happened, but the system did."""
    name = getattr(error, "filename", None)
    if is_machine(error):
        if out_of_memory(error):
            return f"{machine_words(error)}: {_first_line(error)}", 3
        where = repr(os.fsdecode(name)) if name else "a file or standard output"
        return f"cannot use {where}: {machine_words(error)}", 3
    if isinstance(error, OSError) and name:
        return f"cannot use {os.fsdecode(name)!r}: {error.strerror}", 2
    return None


def _our_mistake(error: Exception) -> str:
    """What should not have happened: where, so that it can be reported without a traceback."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" in {os.path.basename(frame.filename)}, line {frame.lineno}" for frame in last)
    return (
        f"{OURS} ({type(error).__name__}{where}: {_first_line(error)}): the same command with {DEBUG} shows "
        "the whole; please report it"
    )


def _first_line(error: Exception) -> str:
    """An error's text, fit for one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def say(text: str) -> None:
    """Print a result for people: warnings in red on a terminal, nothing in it that acts on one."""
    red = os.environ.get("NO_COLOR") is None
    lines = [
        typer.style(line, fg=typer.colors.RED) if red and line.startswith(WARNING) else line
        for line in visible(text).split("\n")
    ]
    typer.echo("\n".join(lines))  # which takes colours out where nobody sees them


def leave(code: int) -> None:
    """End the process; what cannot be written on the way out is said, or nobody is there to be told."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = 141
    except OSError as error:
        typer.echo(f"slicecache: cannot write standard output: {error.strerror}", err=True)
        code = 3
    if code in (141, 3):  # a stream that has failed must not be written to once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
