"""The two scripts of a run under Slurm: an array that embeds, a share per task, and one task that finishes.

Everything that somebody named (paths, arguments, values) is quoted for the shell; directives hold only words
that the site's model lets in, and the paths of logs, quoted as `sbatch` reads them.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cache_schema.cluster.site import FoundSite
from cache_schema.common.errors import ConfigError
from cache_schema.common.one_line import printable
from extract.cluster.estimate import Estimate
from extract.staging import VARIABLE

Directive = tuple[str, str]
"""An option of `sbatch`, and where it came from."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a script runs, and where."""

    arguments: tuple[str, ...]
    """Of `slicecache`."""
    command: tuple[str, ...]
    """What `slicecache` is where no container and no `command` is said."""
    environment: dict[str, str]
    folder: Path
    """Where it is typed."""
    log: Path
    """With Slurm's `%A` and `%a`."""
    binds: tuple[Path, ...] = ()
    """Folders that a container must see."""


def array_script(found: FoundSite, needs: Estimate, shares: str, task: Task) -> str:
    """The array: `shares` are its indices, e.g. `0-7`."""
    site = found.site
    throttle = "" if site.throttle is None else f"%{site.throttle}"
    lines: list[Directive] = [
        ("--job-name=slicecache", ""),
        (f"--array={shares}{throttle}", _why(found, "tasks", "", needs)),
        *_whereabouts(found, site.partition),
        (f"--cpus-per-task={needs.cpus}", _why(found, "cpus", "", needs)),
        (f"--mem={site.memory or needs.memory}", _why(found, "memory", needs.memory, needs)),
        (f"--time={site.time or needs.time}", _why(found, "time", needs.time, needs)),
    ]
    if site.gpu is not None:
        lines.append((site.gpu, f"gpu: {found.origin('gpu', 'by default')}"))
    lines += [(option, "directives: site file") for option in site.directives]
    lines += [("--requeue", ""), (f"--signal=B:USR1@{site.warn_seconds}", "the trap below")]
    lines += [("--open-mode=append", "a task that runs again goes on in its log"), _output(task.log)]
    return "\n".join(
        [
            *_head("a share of the volumes per task; one of them again: sbatch --array=3 FILE", found, lines),
            *_surroundings(found, task, "${SLURM_CPUS_PER_TASK:-1}"),
            *_staging(found),
            *_trap(site.requeues),
            f"{_command(found, task)} &",
            'wait "$!"',
            "",
        ]
    )


def finish_script(found: FoundSite, tasks: Sequence[Task], memory: str, time: str) -> str:
    """The task that comes after: it needs no GPU, and reads no images.

    Args:
        found: The site's settings.
        tasks: What it runs, a store each, which differ in their arguments alone.
        memory: That it needs by estimate.
        time: Likewise.
    """
    found = replace(found, site=found.site.model_copy(update={"gpu": None, "stage": None}))
    site = found.site
    partition = site.finish_partition or site.partition
    lines = [
        ("--job-name=slicecache-finish", ""),
        *_whereabouts(found, partition, "finish_partition"),
        ("--cpus-per-task=2", ""),
        (f"--mem={site.finish_memory or memory}", _origin(found, "finish_memory")),
        (f"--time={site.finish_time or time}", _origin(found, "finish_time")),
        _output(tasks[0].log),
    ]
    what = "checks that all is there, verifies, seals and packs; again: sbatch FILE"
    commands = _each_of([_command(found, task) for task in tasks])
    return "\n".join([*_head(what, found, lines), *_surroundings(found, tasks[0], "2"), *commands, ""])


def _each_of(commands: Sequence[str]) -> list[str]:
    """One after the other, whatever becomes of the others; it ends as the last one that failed."""
    if len(commands) == 1:
        return list(commands)
    return ["code=0", *(f"{command} || code=$?" for command in commands), 'exit "$code"']


def _origin(found: FoundSite, name: str) -> str:
    return f"{name}: {found.origin(name, 'estimated')}"


def _head(what: str, found: FoundSite, lines: Iterable[Directive]) -> list[str]:
    said = [
        "#!/bin/bash",
        f"# Written by `slicecache extract --engine slurm`: {what}",
        f"# Settings: {printable(found.source)}; a line there (`memory: 32G`) replaces an estimate.",
    ]
    for option, origin in lines:
        said += [f"# {printable(origin)}"] * bool(origin) + [f"#SBATCH {option}"]
    return [*said, ""]


def _why(found: FoundSite, key: str, value: str, needs: Estimate) -> str:
    """What an estimate rests on, also where the site says another `value`."""
    if key not in found.site.model_fields_set:
        return f"{key}: estimated, {needs.why[key]}"
    return f"{key}: site file; " + (f"{value} by estimate, " if value else "") + needs.why[key]


def _whereabouts(found: FoundSite, partition: str | None, key: str = "partition") -> list[Directive]:
    """Partition, account and quality of service, where the site says them."""
    named = {"partition": partition, "account": found.site.account, "qos": found.site.qos}
    key = key if key in found.site.model_fields_set else "partition"
    return [
        (f"--{name}={value}", f"{key if name == 'partition' else name}: site file")
        for name, value in named.items()
        if value is not None
    ]


def _output(log: Path) -> Directive:
    """Where Slurm writes what a task says: `%A` and `%a` are its own, every other `%` is the folder's.

    Raises:
        ConfigError: If the folder's name has a character that Slurm cannot take there.
    """
    folder, name = str(log.parent), log.name
    if "\\" in folder or not folder.isprintable():
        raise ConfigError(
            f"run.folder {folder!r}: Slurm writes no logs below a folder with such a name; take one without "
            "backslashes and control characters"
        )
    escaped = folder.replace("%", "%%").replace('"', '\\"')
    return f'--output="{escaped}/{name}"', ""


def _surroundings(found: FoundSite, task: Task, threads: str) -> list[str]:
    """Folder, modules, variables and the site's own lines, in this order."""
    modules = [f"module load {shlex.quote(name)} || exit 3" for name in found.site.modules]
    if modules:
        modules = ["type module >/dev/null 2>&1 || . /etc/profile", *modules]
    variables = task.environment | dict(found.site.environment)
    return [
        f"cd -- {shlex.quote(str(task.folder))} || exit 3",
        *modules,
        f'export OMP_NUM_THREADS="{threads}"',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        *found.site.setup,
    ]


def _staging(found: FoundSite) -> list[str]:
    """A folder of this task on the node's own disk, gone when the task ends."""
    if found.site.stage is None:
        return []
    return [
        f'stage=$(mktemp -d -- "{found.site.stage}/slicecache-XXXXXX") || exit 3',
        "trap 'rm -rf -- \"$stage\"' EXIT",
        f'export {VARIABLE}="$stage"',
    ]


def _trap(requeues: int) -> list[str]:
    """Slurm requeues a task whose node is lost, but not one that meets its limit: that one does it itself."""
    return [
        "again() {",
        '    if [ -n "$!" ]; then kill -TERM "$!"; wait "$!"; fi',
        f'    if [ "${{SLURM_RESTART_COUNT:-0}}" -ge {requeues} ]; then',
        f'        echo "slicecache: started again {requeues} times, and out of time once more: not '
        'queued again; give it more time, or more tasks (time:, tasks: in the site file)" >&2',
        "        exit 1",
        "    fi",
        '    echo "slicecache: the time limit is near; queued again, to go on from what is committed" >&2',
        '    scontrol requeue "$SLURM_JOB_ID" || exit 1',
        "    exit 0",
        "}",
        "trap again USR1",
    ]


def _command(found: FoundSite, task: Task) -> str:
    """One line of shell."""
    site = found.site
    words = site.command or (("slicecache",) if site.container else task.command)
    inside = [] if found.image is None else _inside(found, task)
    return " ".join([*inside, shlex.join([*words, *task.arguments])])


def _inside(found: FoundSite, task: Task) -> list[str]:
    """What runs a command in the container, and the folders that it must see."""
    site = found.site
    runner = site.container_command or ("apptainer", "exec", *(["--nv"] if site.gpu else []))
    binds = [word for folder in _distinct(task.binds) for word in ("--bind", str(folder))]
    stage = ['--bind "$stage"'] if site.stage is not None else []
    return [shlex.join([*runner, *binds]), *stage, shlex.quote(str(found.image))]


def _distinct(folders: Sequence[Path]) -> list[Path]:
    """Without those that lie in another one."""
    distinct = sorted(set(folders))
    return [folder for folder in distinct if not any(other in folder.parents for other in distinct)]


def spans(numbers: Sequence[int]) -> str:
    """Indices of an array: `0-3,7`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)
