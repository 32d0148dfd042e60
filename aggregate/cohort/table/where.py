"""`where: "qc == 'pass' and age >= 55"`: conditions over the columns of the cohort table.

Grammar: names of columns (in backticks when they are not plain words), numbers, quoted text, lists,
`and or not`, `== != < <= > >= in`, `+ - * / %`, `is None`. Nothing else is evaluated: no calls, no
attributes. Logic has three values: a comparison with a missing value is unknown, `not unknown` stays
unknown, and only rows for which the condition is certainly true are kept.
"""

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aggregate.common.table_values import nearest, read_number
from cache_schema.common.errors import ConfigError

Bools = NDArray[np.bool_]

COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
YES, NO = {"1", "true", "yes", "y", "x"}, {"0", "false", "no", "n", ""}


@dataclass(frozen=True, slots=True)
class Truth:
    """A condition per row: certainly true, certainly false, or neither."""

    true: Bools
    false: Bools


@dataclass(frozen=True, slots=True)
class Value:
    """A column or a constant per row."""

    data: NDArray[Any]
    """float64 for numbers (NaN where missing), object for text."""
    missing: Bools
    name: str

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers rather than text."""
        return self.data.dtype.kind == "f"


def where(expression: str, frame: pd.DataFrame) -> tuple[Bools, Bools]:
    """Evaluate a condition on every row of a table.

    Args:
        expression: The user's condition.
        frame: Columns of numbers or text, missing values as NaN.

    Returns:
        Rows that are kept, and rows for which a missing value leaves the condition open: both (row,).

    Raises:
        ConfigError: If it does not parse, names an unknown column, or compares text with numbers.
    """
    truth = Evaluator(expression, frame).run()
    return truth.true, ~truth.true & ~truth.false


class Evaluator:
    """Walks the syntax tree of one condition over one table."""

    def __init__(self, expression: str, frame: pd.DataFrame) -> None:
        self.expression = expression
        self.frame = frame
        self.quoted: dict[str, str] = {}

    def run(self) -> Truth:
        """The condition's truth per row."""
        text = re.sub(r"`([^`]+)`", self._quote, self.expression.strip())
        try:
            tree = ast.parse(text, mode="eval")
        # The last two are what Python's parser says of what is nested too deep.
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise self.error("is not a condition; write for example \"age >= 55 and sex == 'F'\"") from error
        return self.truth(tree.body)

    def _quote(self, match: re.Match[str]) -> str:
        name = f"_column_{len(self.quoted)}_"
        self.quoted[name] = match[1]
        return name

    def error(self, problem: str) -> ConfigError:
        """A mistake with the user's own condition in front."""
        return ConfigError(f"where: {self.expression!r} {problem}")

    def truth(self, node: ast.expr) -> Truth:
        """A node that must be a condition."""
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                parts = [self.truth(value) for value in values]
                return Truth(
                    np.logical_and.reduce([p.true for p in parts]),
                    np.logical_or.reduce([p.false for p in parts]),
                )
            case ast.BoolOp(values=values):
                parts = [self.truth(value) for value in values]
                return Truth(
                    np.logical_or.reduce([p.true for p in parts]),
                    np.logical_and.reduce([p.false for p in parts]),
                )
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.truth(operand)
                return Truth(inner.false, inner.true)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                steps = zip(ops, sides, sides[1:], strict=False)
                pairs = [self.compare(op, a, b) for op, a, b in steps]
                return Truth(
                    np.logical_and.reduce([p.true for p in pairs]),
                    np.logical_or.reduce([p.false for p in pairs]),
                )
            case ast.Constant(value=bool() as constant):
                rows = np.ones(len(self.frame), dtype=np.bool_)
                return Truth(rows & constant, rows & (not constant))
            case ast.Name():
                return self.flag(self.value(node))
        raise self.error(f"holds {ast.unparse(node)!r} where a condition is expected")

    def flag(self, value: Value) -> Truth:
        """A bare column, read as yes or no."""
        words = [_word(item) for item in value.data]
        odd = [w for w, gone in zip(words, value.missing, strict=True) if not gone and w not in YES | NO]
        if odd:
            raise self.error(f"uses {value.name!r} as a condition, but it holds {odd[0]!r}, not yes or no")
        true = np.array([w in YES for w in words], dtype=np.bool_) & ~value.missing
        return Truth(true, ~true & ~value.missing)

    def compare(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Truth:
        """One comparison between two neighbours of a chain."""
        match op:
            case ast.Is() | ast.IsNot():
                if not (isinstance(right, ast.Constant) and right.value is None):
                    raise self.error("may use 'is' with None only")
                missing = self.value(left).missing
                return Truth(missing, ~missing) if isinstance(op, ast.Is) else Truth(~missing, missing)
            case ast.In() | ast.NotIn():
                if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                    raise self.error("needs a list after 'in', e.g. site in ['A', 'B']")
                each = [self.compare(ast.Eq(), left, item) for item in right.elts]
                nothing = np.zeros(len(self.frame), dtype=np.bool_)
                found = np.logical_or.reduce([nothing, *(t.true for t in each)])
                known = ~self.value(left).missing
                inside = Truth(found, known & ~found)
                return inside if isinstance(op, ast.In) else Truth(inside.false, inside.true)
        a, b = self.same_kind(self.value(left), self.value(right))
        known = ~(a.missing | b.missing)
        result = np.zeros(len(self.frame), dtype=np.bool_)
        result[known] = COMPARE[type(op)](a.data[known], b.data[known])
        return Truth(result, known & ~result)

    def same_kind(self, a: Value, b: Value) -> tuple[Value, Value]:
        """Bring two sides to numbers or to text; a quoted number is a number beside a numeric column."""
        if a.is_number == b.is_number:
            return a, b
        number, text = (a, b) if a.is_number else (b, a)
        read = [read_number(str(item)) for item in text.data]
        if text.name not in self.frame.columns and None not in read:
            turned = Value(np.array(read, dtype=np.float64), text.missing, text.name)
            return (a, turned) if number is a else (turned, b)
        example = next((x for x, gone in zip(text.data, text.missing, strict=True) if not gone), "")
        raise self.error(
            f"compares {number.name!r} (numbers) with {text.name!r} (text such as {example!r}); "
            "text goes in quotes, numbers do not"
        )

    def value(self, node: ast.expr) -> Value:
        """A node that must be a column, a constant, or arithmetic on them."""
        match node:
            case ast.Name(id=name):
                return self.column(self.quoted.get(name, name))
            case ast.Constant(value=bool() | int() | float() as constant):
                return self.constant(np.full(len(self.frame), self.as_float(constant)), repr(constant))
            case ast.Constant(value=str() as constant):
                return self.constant(np.full(len(self.frame), constant, dtype=object), constant)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.number(operand)
                return Value(-inner.data, inner.missing, ast.unparse(node))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                a, b = self.number(left), self.number(right)
                with np.errstate(all="ignore"):
                    result = np.asarray(OPERATORS[type(op)](a.data, b.data), dtype=np.float64)
                return Value(result, ~np.isfinite(result), ast.unparse(node))
        raise self.error(f"holds {ast.unparse(node)!r}, which is not allowed here")

    def as_float(self, constant: float) -> float:
        """A number as a column would hold it."""
        try:
            return float(constant)
        except OverflowError as error:
            raise self.error("holds a number that is too large") from error

    def constant(self, data: NDArray[Any], name: str) -> Value:
        """The same value on every row."""
        return Value(data, np.zeros(len(self.frame), dtype=np.bool_), name)

    def number(self, node: ast.expr) -> Value:
        """A value that must be numeric."""
        value = self.value(node)
        if not value.is_number:
            raise self.error(f"calculates with {value.name!r}, which is text")
        return value

    def column(self, name: str) -> Value:
        """A column of the table."""
        if name not in self.frame.columns:
            raise self.error(f"names an unknown column {name!r}{nearest(name, list(self.frame.columns))}")
        series = self.frame[name]
        missing = series.isna().to_numpy(dtype=np.bool_)
        if pd.api.types.is_numeric_dtype(series):
            return Value(series.to_numpy(dtype=np.float64), missing, name)
        return Value(series.to_numpy(dtype=object), missing, name)


def _word(item: Any) -> str:
    """A flag's spelling: 1.0 and '1' are the same."""
    return f"{item:g}" if isinstance(item, float) else str(item).strip().lower()
