"""Which columns say whose a row is, and where its image lies: by option, by usual names, or by asking."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.visible import label
from cache_schema.common.text.mistakes import suggest
from extract.init.asking import Ask, NoDefault
from extract.init.columns import find_role

IMAGES, LABELS = 0, 1
"""Places in `--participant` where it is given twice."""


@dataclass(slots=True)
class Participants:
    """The columns of participants' ids, which two tables may call differently."""

    given: tuple[str, ...]
    """By `--participant`: none, one for whichever table has it, or that of the images and of the labels."""
    ask: Ask
    found: dict[Path, str] = field(default_factory=dict)
    """Table -> its column; a table of both images and labels is asked about once."""

    def column(self, table: Path, names: list[str], place: int) -> str:
        """The column of one table.

        Args:
            table: Its file.
            names: Of its columns.
            place: `IMAGES` or `LABELS`.

        Raises:
            ConfigError: If there is none of the name that was given or answered.
        """
        said = self.given[place:][:1] if len(self.given) > 1 else self.given
        if len(self.given) > 1 and said[0] not in names:
            raise _no_column(f"{os.fspath(table)!r} has", said[0], names)
        here = [name for name in said if name in names]
        name = here[0] if here else self.found.get(table) or find_role("participant", names)
        self.found[table] = name or asked_column(
            "ids of participants", table, names, self.ask, "say which it is by --participant COLUMN"
        )
        return self.found[table]

    def refuse_unknown(self, names: list[str]) -> None:
        """Refuse a column that is said once and that no table has.

        Args:
            names: Columns of the labels' table, of which a likely one is named.

        Raises:
            ConfigError: Naming the tables.
        """
        if len(self.given) == 1 and self.given[0] not in self.found.values():
            tables = " and ".join(repr(os.fspath(table)) for table in self.found)
            raise _no_column(f"{tables} {'have' if len(self.found) > 1 else 'has'}", self.given[0], names)


def asked_column(what: str, table: Path, names: list[str], ask: Ask, else_say: str) -> str:
    """A column that is not called as usual, as somebody names it.

    Args:
        what: Is in it, for sentences.
        table: Its file.
        names: Of its columns.
        ask: How.
        else_say: What to do where nobody is asked.

    Raises:
        ConfigError: If there is none of this name, or nobody to ask.
    """
    listed = ", ".join(map(label, names))
    unusual = f"no column of {os.fspath(table)!r} is called as {what} usually are"
    try:
        name = ask(f"   {unusual}; it has {listed}\n   Column with them", None)
    except NoDefault as nobody:
        raise ConfigError(f"{unusual}; it has {', '.join(names)}: {else_say}") from nobody
    if name not in names:
        raise _no_column(f"{os.fspath(table)!r} has", name, names)
    return name


def _no_column(has: str, name: str, names: list[str]) -> ConfigError:
    return ConfigError(f"{has} no column {name!r}{suggest(name, names)}")
