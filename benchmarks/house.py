"""The structure of a checkout in figures: rooms, circles, homonyms, how far a value is handed down.

    python benchmarks/house.py                       this checkout
    python benchmarks/house.py --tree ../old         another one, e.g. a worktree of an older commit
    python benchmarks/house.py --depth               also runs a tiny study and counts frames

Everything but `--depth` is read from the source with `ast`; nothing of the project is imported.
"""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("cache_schema", "extract", "aggregate")
FACES = ("slicecache", "pipeline")
FEW = 12
"""Modules that a folder may hold, `__init__` aside."""
SECTIONS = {"AggregateSection", "AggregateKeys", "DetectSection", "ExtractSection"}
WAY = (
    *("Candidate", "PlannedVolume", "Volume", "Prepared", "PreparedVolume", "Decoded", "Embedded"),
    *("EmbeddedVolume", "Draft", "VolumeDraft", "VolumeRecord", "VolumeEntry", "JoinedVolume"),
)
"""What one volume has been called on its way from a file to a bag."""

Graph = dict[str, set[str]]


def sources(tree: Path) -> dict[str, ast.Module]:
    """Every product module by its dotted name."""
    files = [path for package in PACKAGES for path in sorted((tree / package).rglob("*.py"))]
    files += [tree / f"{face}.py" for face in FACES if (tree / f"{face}.py").exists()]
    return {".".join(f.relative_to(tree).with_suffix("").parts): ast.parse(f.read_text()) for f in files}


def imports(module: ast.Module) -> Iterator[str]:
    """Modules that a module imports, inside functions too; what only type checkers see is left out."""
    hidden = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(module):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_graph(modules: dict[str, ast.Module], depth: int) -> Graph:
    """Who imports whom among siblings `depth` names deep; a module directly in a package is a room."""
    graph: Graph = defaultdict(set)
    for name, module in modules.items():
        here = name.split(".")
        for target in imports(module):
            there = target.split(".")
            same = here[: depth - 1] == there[: depth - 1] and len(here) >= depth and len(there) >= depth
            if same and here[depth - 1] != there[depth - 1] and here[0] in PACKAGES:
                graph[".".join(here[:depth])].add(".".join(there[:depth]))
    return graph


def circles(graph: Graph) -> list[list[str]]:
    """Strongly connected sets of more than one room (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            start = stack.index(node)
            if len(stack) - start > 1:
                found.append(sorted(stack[start:]))
            del stack[start:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def public_names(module: ast.Module) -> list[str]:
    """Classes, functions and constants of a module that others may use."""
    names = [n.name for n in module.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_") and name != "logger"]


def homonyms(modules: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Public names that more than one module defines."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, module in modules.items():
        for public in set(public_names(module)):
            places[public].append(name)
    return {name: where for name, where in sorted(places.items()) if len(where) > 1}


def naming(modules: dict[str, ast.Module], names: set[str]) -> list[str]:
    """Modules that name one of these classes."""
    return [
        name
        for name, module in modules.items()
        if any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(module))
        or any(isinstance(n, ast.ImportFrom) and names & {a.name for a in n.names} for n in ast.walk(module))
        or any(isinstance(n, ast.ClassDef) and n.name in names for n in ast.walk(module))
    ]


def on_the_way(modules: dict[str, ast.Module]) -> list[str]:
    """Classes that one volume is called by, one entry per definition."""
    return [
        f"{module}.{node.name}"
        for module, tree in modules.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in WAY
    ]


def folders(tree: Path) -> dict[str, int]:
    """Modules in every folder of the product, `__init__` aside."""
    found: dict[str, int] = defaultdict(int)
    for package in PACKAGES:
        for path in (tree / package).rglob("*.py"):
            found[str(path.parent.relative_to(tree))] += path.name != "__init__.py"
    return found


def lines(tree: Path) -> int:
    """Lines of product code, tests and benchmarks aside."""
    files = [path for package in PACKAGES for path in (tree / package).rglob("*.py")]
    files += [tree / f"{face}.py" for face in FACES if (tree / f"{face}.py").exists()]
    return sum(len(path.read_text().splitlines()) for path in files)


TRACE = """
import runpy, sys, traceback
deepest = {{}}
def count(name):
    ours = [f.filename for f in traceback.extract_stack() if f.filename.startswith({tree!r})]
    frames = [name for name in ours if "site-packages" not in name]
    deepest[name] = max(deepest.get(name, 0), len(frames))
def wrap(cls, method, name):
    own = getattr(cls, method)
    def counted(*args, **kwargs):
        count(name)
        return own(*args, **kwargs)
    setattr(cls, method, counted)
from extract.backbones.transformer import Transformer
from aggregate.training.steps.adam import StackedAdam
method = next(name for name in ("embed", "__call__", "forward", "_forward") if name in vars(Transformer))
wrap(Transformer, method, "extract -> backbone")
wrap(StackedAdam, "step", "train -> optimiser")
sys.argv = ["slicecache", *sys.argv[1:]]
try:
    runpy.run_module({face!r}, run_name="__main__")
finally:
    print("DEPTH", deepest, file=sys.stderr)
"""
PIPELINE = """
run: {folder: run}
cache: {store: cache.zarr}
extract:
  input: {bids: cohort, suffix: T1w}
  slices: {kind: uniform, n: 4}
  backbone: {kind: untrained, size: tiny, seed: 0}
  workers: 1
aggregate:
  cohort: cohort/participants.tsv
  target: diagnosis
  train: {epochs: 2}
  folds: {n: 2}
"""


def depth_of_call(tree: Path) -> str:
    """Frames of our own code on the stack where the work is done, in a tiny study that is really run."""
    face = next(face for face in FACES if (tree / f"{face}.py").exists())
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    code = TRACE.format(tree=str(tree), face=face)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "p.yaml").write_text(PIPELINE)
        simulate = ["simulate", "cohort", "--participants", "8", "--effect", "atrophy", "--seed", "0"]
        for arguments in (simulate, ["run", "p.yaml"]):
            command = [sys.executable, "-c", code, *arguments]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    found = [line for line in done.stderr.splitlines() if line.startswith("DEPTH")]
    return found[-1].removeprefix("DEPTH ") if found else done.stderr[-500:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--depth", action="store_true", help="run a tiny study and count frames")
    parser.add_argument("--names", action="store_true", help="list homonyms and files, too")
    options = parser.parse_args()
    tree = options.tree.resolve()
    modules = sources(tree)
    crowded = {name: n for name, n in folders(tree).items() if n > FEW}
    found = [c for depth in (2, 3, 4) for c in circles(room_graph(modules, depth))]
    same = homonyms(modules)
    total = len({name for module in modules.values() for name in public_names(module)})
    named = naming(modules, SECTIONS)
    way = on_the_way(modules)
    rows = [
        ("folders", len(folders(tree))),
        (f"folders with more than {FEW} modules", f"{len(crowded)} {crowded or ''}"),
        ("circles among rooms", f"{len(found)} (rooms in them: {sum(map(len, found))})"),
        ("public names that stand for several things", f"{len(same)} of {total}"),
        ("files that name a section's class", len(named)),
        ("names of a volume from file to bag", len(way)),
        ("lines of product code", lines(tree)),
    ]
    if options.depth:
        rows.append(("frames where the work is done", depth_of_call(tree)))
    for what, value in rows:
        print(f"{what:<45} {value}")
    if options.names:
        print(*(f"circle: {' '.join(c)}" for c in found), sep="\n")
        print(*(f"{name}: {' '.join(where)}" for name, where in same.items()), sep="\n")
        print(*named, *way, sep="\n")


if __name__ == "__main__":
    main()
