"""How an input is spoiled: by bytes, and by what its format means.

Everything is drawn from the `Random` that is handed over, so that a case is the same everywhere.
"""

import copy
import csv
import gzip
import io
import json
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

from fuzz.target import Files
from fuzz.values import NUMBERS, WORDS, expanded, odd_value

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""The fast ones where they are: the same files come of both but for line breaks in long texts."""

Mutator = Callable[[bytes, Random], bytes]


def mutated(files: Files, others: Sequence[Files], rng: Random) -> Files:
    """A spoiled copy of one input; mostly within one file, sometimes among the files."""
    made = dict(files)
    if rng.random() < 0.06 or not made:
        return _shuffled(made, rng)
    for _ in range(rng.choice([1, 1, 1, 2])):
        name = rng.choice(sorted(made))
        if rng.random() < 0.04 and (donors := [each[name] for each in others if name in each]):
            made[name] = spliced(made[name], rng.choice(donors), rng)
        else:
            made[name] = mutated_file(name, made[name], rng)
    return made


def mutated_file(name: str, data: bytes, rng: Random) -> bytes:
    """One file spoiled as its ending suggests, or by bytes."""
    ending = name.lower().rpartition(".")[2]
    by_format = FORMATS.get(ending)
    if by_format is not None and rng.random() < 0.7:
        try:
            return by_format(data, rng)
        except Exception:  # spoiled before: what is left is bytes
            return by_bytes(data, rng)
    return by_bytes(data, rng)


def by_bytes(data: bytes, rng: Random) -> bytes:
    """One to four blind changes."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        data = rng.choice(BLIND)(data, rng)
    return data


def _flip(data: bytes, rng: Random) -> bytes:
    if not data:
        return b"\x00"
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _overwrite(data: bytes, rng: Random) -> bytes:
    """An aligned number of 1 to 8 bytes becomes a notorious one."""
    width = rng.choice([1, 2, 4, 8])
    at = _place(data, rng) // width * width
    number = int(rng.choice([0, 1, -1, 127, 255, 2**15, 2**31 - 1, 2**31, 2**63 - 1, rng.getrandbits(64)]))
    word = struct.pack("<Q", number % 2**64)[:width]
    if width >= 4 and rng.random() < 0.3:
        word = struct.pack(
            "<f" if width == 4 else "<d", rng.choice([0.0, -1.0, 1e30, float("nan"), float("inf")])
        )
    if rng.random() < 0.2:
        word = word[::-1]
    return data[:at] + word + data[at + width :]


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: _place(data, rng)]


def _drop(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice([1, 2, 8, 100]) :]


def _double(data: bytes, rng: Random) -> bytes:
    at, length = _place(data, rng), rng.choice([1, 4, 30, 500])
    return data[: at + length] + data[at : at + length] * rng.choice([1, 1, 3, 200]) + data[at + length :]


def _insert(data: bytes, rng: Random) -> bytes:
    at = _place(data, rng)
    word = rng.choice(WORDS).encode("utf-8", "surrogatepass")
    return (
        data[:at]
        + rng.choice([word, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"\x80"])
        + data[at:]
    )


BLIND: tuple[Mutator, ...] = (_flip, _flip, _overwrite, _overwrite, _cut, _drop, _double, _insert)


def _place(data: bytes, rng: Random) -> int:
    """Somewhere; half of the time near the start, where headers are."""
    end = min(len(data), 400) if rng.random() < 0.5 else len(data)
    return rng.randrange(end) if end else 0


def spliced(one: bytes, other: bytes, rng: Random) -> bytes:
    """The start of one and the end of another."""
    return one[: _place(one, rng)] + other[_place(other, rng) :]


def in_tree(tree: Any, rng: Random, is_yaml: bool = False) -> Any:
    """A few changes somewhere in nested mappings and lists."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2, 3])):
        places = list(_places(tree))
        if not places:
            return odd_value(rng, is_yaml)
        _change(*rng.choice(places), rng, is_yaml, places)
    return tree


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (holder, key) below a node; what aliases share is looked into once."""
    found: list[tuple[Any, Any]] = []
    left, seen = [node], set()
    while left:
        holder = left.pop()
        if isinstance(holder, dict | list) and id(holder) not in seen:
            seen.add(id(holder))
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            found += [(holder, key) for key in keys]
            left += [holder[key] for key in keys]
    return found


def _change(holder: Any, key: Any, rng: Random, is_yaml: bool, places: list[tuple[Any, Any]]) -> None:
    """One change at one place."""
    action = rng.randrange(10)
    if action < 4:
        holder[key] = odd_value(rng, is_yaml)
    elif action == 4:
        del holder[key]
    elif action == 5:
        other, its = rng.choice(places)
        holder[key] = copy.deepcopy(other[its])
    elif action == 6 and isinstance(holder, dict):
        holder[rng.choice(WORDS) if rng.random() < 0.5 else f"{key}{rng.choice('xs_ ')}"] = holder.pop(key)
    elif action == 7:
        holder[key] = [holder[key]] if rng.random() < 0.5 else {str(key): holder[key]}
    elif action == 8 and isinstance(holder[key], bool | int | float | str):
        holder[key] = _near(holder[key], rng)
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[rng.choice(WORDS)] = odd_value(rng, is_yaml)


def _near(value: Any, rng: Random) -> Any:
    """A value almost like this one, or the same in another type."""
    if isinstance(value, str):
        return rng.choice(
            [value.upper(), value[:-1], value + "s", value[::-1], value + rng.choice(WORDS), [value]]
        )
    return rng.choice([-value, value + 1, value * 2, str(value), float(value), value * 1e6, bool(value)])


def in_yaml(data: bytes, rng: Random) -> bytes:
    """The tree behind a YAML, or what only text can say."""
    text = data.decode("utf-8")
    if rng.random() < 0.35:
        return _yaml_text(text, rng).encode("utf-8", "surrogatepass")
    made = yaml.safe_dump(
        in_tree(yaml.safe_load(text), rng, is_yaml=True), allow_unicode=True, sort_keys=False
    )
    return expanded(made).encode("utf-8", "surrogatepass")


def _yaml_text(text: str, rng: Random) -> str:
    """Anchors, tags, tabs, doubled lines, several documents."""
    lines = text.splitlines() or [""]
    at = rng.randrange(len(lines))
    line = lines[at]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, rng.choice([3, 8, 20]))
    )
    key, colon, value = line.partition(":")
    ways = [
        [line, line], [line.replace("  ", "\t", 1)], ["---", line], ["...", line], [f"{key}: &x {value}",
        f"{key}2: *x"],
        [f"{key}: *nowhere"], [f"{key}: !!python/object/apply:os.system [ls]"], [f"{key}: !custom {value}"],
        [f"{key}: &loop [*loop]"], ["<<: {a: 1}", line], [f"{key}{colon} {{"], [f"? {line}"], [f"{key}: |",
        "  text"],
        [f"{key}: 0x1F"], [f"{key}: 1:30:00"], [f"{key}: 2020-01-01"], [f"{key}: 2020-99-99"],
        [f"{key}: !!int x"],
        [f"{key}: =1+1"], [" " + line], [line.strip()], [f"{key}: !!float {'9' * 400}"],
        [f"{key}: {'1_' * 3000}"],
        [f"{key}: !!timestamp 2020"], [f"{key}: !!set {{a, b}}"], ["? [a, b]", ": 1"], ["? {a: 1}", ": 1"],
        [f"{key}: {'{a: ' * 1500}"], [f"{key}: {'- ' * 3000}x"], ["%YAML 9.9", "---", line], [f"{key}: \x00"],
    ]  # fmt: skip
    way = rng.randrange(len(ways) + 1)
    if way == len(ways):
        return bomb + text
    return "\n".join([*lines[:at], *ways[way], *lines[at + 1 :]]) + "\n"


def in_json(data: bytes, rng: Random) -> bytes:
    """The tree behind a JSON."""
    if rng.random() < 0.05:
        return rng.choice(
            [b"[" * 200_000, b"null", b"[]", b"{}", b'"x"', b"1", b"NaN", b'{"a":1,"a":2}', b""]
        )
    made = json.dumps(in_tree(json.loads(data), rng))
    return expanded(made).encode("utf-8", "surrogatepass")


def in_table(data: bytes, rng: Random) -> bytes:
    """Cells, rows and the header of a CSV or TSV."""
    text = data.decode("utf-8-sig")
    delimiter = max("\t,;", key=text.split("\n", 1)[0].count)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    for _ in range(rng.choice([1, 1, 2, 5])):
        _change_rows(rows, rng)
    out = io.StringIO()
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(
        out, delimiter=delimiter, quoting=quoting, lineterminator=rng.choice(["\n", "\n", "\r\n", "\r"])
    )
    writer.writerows(rows)
    coding = rng.choice(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1", "utf-32"])
    return out.getvalue().encode(coding, "surrogatepass" if coding == "utf-8" else "replace")


def _change_rows(rows: list[list[str]], rng: Random) -> None:
    """One change to a table."""
    at = rng.randrange(len(rows)) if rows else 0
    if not rows or not rows[at]:
        rows.insert(at, [rng.choice(WORDS)])
        return
    row, cell = rows[at], rng.randrange(len(rows[at]))
    match rng.randrange(9):
        case 0 | 1 | 2:
            row[cell] = rng.choice(WORDS)
        case 3:
            row[cell] = str(rng.choice(NUMBERS))
        case 4:
            rows.insert(at, list(row))
        case 5:
            del rows[at]
        case 6:
            row[cell] = rng.choice(rng.choice(rows) or [""])
        case 7:
            row.insert(cell, rng.choice(WORDS)) if rng.random() < 0.5 else row.pop(cell)
        case _:
            row[cell] += rng.choice(WORDS)


def in_gzip(data: bytes, rng: Random) -> bytes:
    """What is packed inside."""
    return gzip.compress(by_bytes(gzip.decompress(data), rng), 1, mtime=0)


def in_safetensors(data: bytes, rng: Random) -> bytes:
    """The JSON before the tensors, with its length made right again."""
    length = struct.unpack("<Q", data[:8])[0]
    head, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    inner = head.get("__metadata__")
    if isinstance(inner, dict) and inner and rng.random() < 0.5:
        key = rng.choice(sorted(inner))
        inner[key] = in_json(inner[key].encode(), rng).decode("utf-8", "replace")
        made = json.dumps(head).encode()
    else:
        made = expanded(json.dumps(in_tree(head, rng))).encode()
    if rng.random() < 0.2 and body:
        body = by_bytes(body, rng)
    return struct.pack("<Q", len(made)) + made + body


FORMATS: dict[str, Mutator] = {
    "yaml": in_yaml, "yml": in_yaml, "json": in_json, "csv": in_table, "tsv": in_table, "gz": in_gzip,
    "mgz": in_gzip, "safetensors": in_safetensors,
}  # fmt: skip


def _shuffled(files: Files, rng: Random) -> Files:
    """A file gone, doubled, emptied, or under another name."""
    if not files:
        return {rng.choice(["x", "a.yaml", "sub-01/x.nii"]): b""}
    name = rng.choice(sorted(files))
    folder, slash, last = name.rpartition("/")
    words = (
        "sub-01",
        "..",
        "sub-",
        "_",
        "-",
        "sub-01_ses-_T1w.nii.gz",
        "\u202e",
        "a" * 200,
        "*",
        "[",
        " ",
        "ses-1_run-",
    )
    odd = rng.choice(
        [rng.choice(words) + last, last + rng.choice(words), last.upper(), last[1:], last.replace("-", "", 1)]
    )
    match rng.randrange(4):
        case 0:
            del files[name]
        case 1:
            files[folder + slash + (odd or "x")] = files[name]
        case 2:
            files[name] = b""
        case _:
            files[folder + slash + (odd or "x")] = files.pop(name)
    return files
