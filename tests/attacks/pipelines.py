"""Pipeline files that cannot be meant: YAML that hurts or hides, and values that belong elsewhere."""

from collections.abc import Callable

from attacks.scene import Attack, Scene

Arrange = Callable[[Scene], list[str]]


def _edited(old: str, new: str, *more: str) -> Arrange:
    """The archive's pipeline with one text replaced; `more` comes behind its path."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived("pipeline.yaml")
        text = path.read_text()
        assert old in text
        path.write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogatepass"))
        return [str(path), *more]

    return arrange


def _instead(data: bytes) -> Arrange:
    """Something else in place of the pipeline."""

    def arrange(scene: Scene) -> list[str]:
        path = scene.archived("pipeline.yaml")
        path.write_bytes(data)
        return [str(path)]

    return arrange


def _set(value: str) -> Arrange:
    return lambda scene: [str(scene.archived("pipeline.yaml")), "--set", value]


def _bomb(levels: int, merged: bool = False) -> bytes:
    """Each line nine times the one before."""
    first = "a0: &a0 {x: 1}\n" if merged else "a0: &a0 [x, x, x]\n"
    inner = [", ".join([f"*a{i - 1}"] * 9) for i in range(1, levels)]
    key = "{{<<: [{}]}}" if merged else "[{}]"
    return (first + "".join(f"a{i}: &a{i} {key.format(row)}\n" for i, row in enumerate(inner, 1))).encode()


HEAD = "head: {kind: attention, hidden: 7, embedding: [5]}"
BACKBONE = "backbone: {kind: untrained, size: tiny, seed: 0}"
SLICES = "slices: {kind: every, step_mm: 25}"

ATTACKS = [
    Attack(
        "a key twice",
        "train",
        _edited("  head:", "  head: {kind: mean}\n  head:"),
        r"key 'head' twice, on line \d+ and on line \d+",
    ),
    Attack(
        "a section twice",
        "extract",
        _edited("cache:", "run: {folder: other}\ncache:"),
        r"key 'run' twice, on line 1 and on line 2",
    ),
    Attack(
        "a class twice, as number and as text",
        "train",
        _edited("{column: diagnosis, positive: patient}", "{column: diagnosis, classes: {1: [a], '1': [b]}}"),
        r"key '1' twice",
    ),
    Attack(
        "an alias bomb", "plan", _instead(_bomb(30)), r"more than 30000 values once aliases are written out"
    ),
    Attack(
        "a bomb of merge keys",
        "detect",
        _instead(_bomb(30, merged=True)),
        r"values once aliases are written out",
    ),
    Attack(
        "an alias inside itself",
        "train",
        _edited(HEAD, "head: &h {kind: attention, options: *h}"),
        r"an alias stands inside what it names",
    ),
    Attack(
        "an alias of nothing",
        "plan",
        _edited("suffix: T1w", "suffix: *nobody"),
        r"undefined alias 'nobody' \(line 4",
    ),
    Attack(
        "nested 100,000 deep",
        "plan",
        _instead(b"a: " + b"[" * 100_000),
        r"more than 50 mappings and lists are inside each other",
    ),
    Attack(
        "a block nested 3,000 deep",
        "train",
        _instead(b"run:\n" + b"".join(b" " * i + b"a:\n" for i in range(1, 600))),
        r"more than 50 mappings",
    ),
    Attack("larger than anybody writes", "extract", _instead(b"# x\n" * 200_000), r"larger than 256 KiB"),
    Attack(
        "40,000 values in a list",
        "train",
        _instead(b"run: [" + b"1, " * 40_000 + b"1]"),
        r"more than 30000 values",
    ),
    Attack(
        "a tag that runs code",
        "train",
        _edited("folder: run", "folder: !!python/object/apply:os.system [ls]"),
        r"the tag '!!python/object/apply:os.system' is not read",
    ),
    Attack(
        "a tag of somebody's",
        "plan",
        _edited("suffix: T1w", "suffix: !env HOME"),
        r"line 4: the tag '!env' is not read",
    ),
    Attack("a binary tag", "detect", _edited("seed: 0}\n", "seed: !!binary AAAA}\n"), r"the tag '!!binary'"),
    Attack(
        "a number that its tag denies",
        "train",
        _edited("seed: 0}", "seed: !!int zero}"),
        r"'zero' cannot be read as int",
    ),
    Attack(
        "a number of 5,000 digits",
        "extract",
        _edited("canvas: 28", "canvas: " + "9" * 5000),
        r"cannot be read as int",
    ),
    Attack(
        "two documents",
        "plan",
        _edited("aggregate:", "---\naggregate:"),
        r"a second document begins on line \d+",
    ),
    Attack("a tab", "plan", _edited("  slices", "\tslices"), r"line 5 is indented by a tab; use spaces"),
    Attack("a NUL", "plan", _edited("T1w", "T1\x00w"), r"line 4 holds the control character '\\x00'"),
    Attack(
        "a NUL in an escape",
        "extract",
        _edited("images,", '"im\\0ages",'),
        r"line 4: '\\x00' is no character",
    ),
    Attack(
        "half a surrogate pair",
        "train",
        _edited("images/participants.tsv", '"\\ud800.tsv"'),
        r"'\\ud800' is no character",
    ),
    Attack(
        "a terminal code",
        "detect",
        _edited("images/participants.tsv", '"\\e[31m.tsv"'),
        r"'\\x1b' is no character",
    ),
    Attack("Latin-1", "plan", _instead("run: {folder: é}".encode("latin-1")), r"is not UTF-8 text"),
    Attack("UTF-16", "train", _instead("run: {folder: x}".encode("utf-16")), r"is not UTF-8 text"),
    Attack(
        "a byte-order mark",
        "plan",
        lambda scene: (scene.archived("images"), _edited("run:", "\ufeffrun:")(scene))[1],
        r"9 volumes|slices",
        0,
    ),
    Attack(
        "a list for a key",
        "train",
        _edited("run:", "? [a, b]\n: 1\nrun:"),
        r"line 1: a key must be text or a number",
    ),
    Attack("nothing at all", "plan", _instead(b""), r"must hold the sections run, cache"),
    Attack("a list", "extract", _instead(b"- run\n- cache\n"), r"must hold the sections"),
    Attack(
        "a folder in its place",
        "plan",
        lambda scene: [str(scene.archived("images"))],
        r"cannot read the pipeline .*: Is a directory",
    ),
    Attack(
        "a misspelt kind of head",
        "train",
        _edited("kind: attention,", "kind: attenion,"),
        r"aggregate.head.kind: there is no 'attenion'; did you mean 'attention'\?",
    ),
    Attack(
        "a misspelt kind of backbone",
        "extract",
        _edited("kind: untrained", "kind: untraind"),
        r"extract.backbone.kind: there is no 'untraind'; did you mean 'untrained'",
    ),
    Attack(
        "a misspelt kind of slices",
        "plan",
        _edited("kind: every", "kind: evry"),
        r"extract.slices.kind: there is no 'evry'; did you mean 'every'",
    ),
    Attack(
        "a misspelt kind of detector",
        "detect",
        _edited("kind: patchcore", "kind: pathcore"),
        r"aggregate.detect.detectors.1.kind: there is no 'pathcore'; did you mean 'patchcore'",
    ),
    Attack(
        "no kind",
        "train",
        _edited(HEAD, "head: {hidden: 7}"),
        r"aggregate.head.kind is missing; it is one of mean, .*attention",
    ),
    Attack(
        "a misspelt word for a head",
        "train",
        _edited(HEAD, "head: atention"),
        r"aggregate.head.kind: there is no 'atention'; did you mean 'attention'",
    ),
    Attack(
        "text for a number in a union",
        "train",
        _edited("hidden: 7", "hidden: many"),
        r"aggregate.head.hidden: a whole number is expected, not 'many'",
    ),
    Attack(
        "a key of another section",
        "train",
        _edited("  folds:", "  epochs: 5\n  folds:"),
        r"unknown key aggregate.epochs; it belongs to aggregate.train",
    ),
    Attack(
        "a misspelt key in a union",
        "plan",
        _edited("step_mm: 25", "step_m: 25"),
        r"unknown key extract.slices.step_m; did you mean 'step_mm'",
    ),
    Attack(
        "a negative size",
        "plan",
        _edited("canvas: 28", "canvas: -28"),
        r"extract.canvas: .*a number of at least 14 .*is expected, not -28",
    ),
    Attack(
        "infinity",
        "train",
        _edited("learning_rate: 0.01", "learning_rate: .inf"),
        r"aggregate.train.learning_rate: a .*number is expected, not inf|above|below",
    ),
    Attack(
        "a mapping for text",
        "train",
        _edited("target: {column: diagnosis,", "target: {column: {a: 1},"),
        r"aggregate.target.column: text .* is expected, not \{'a': 1\}",
    ),
    Attack(
        "--set with a key twice",
        "train",
        _set("aggregate.head={kind: mean, kind: mst}"),
        r"--set aggregate.head: .* has the key 'kind' twice",
    ),
    Attack("--set of a bomb", "train", _set("aggregate.loss=[" + "[" * 80), r"more than 50 mappings"),
    Attack(
        "--set with a tag",
        "extract",
        _set("extract.workers=!!python/name:os.system x"),
        r"the tag '!!python/name:os.system'",
    ),
    Attack(
        "--set through a value",
        "train",
        _set("aggregate.cohort.x=1"),
        r"--set aggregate.cohort.x: 'cohort' is 'images/participants.tsv', not a section",
    ),
    Attack("--set with empty steps", "plan", _set("extract..kind=1"), r"--set takes NAME=VALUE"),
]
