"""Names of token arrays: one, or several whose numbers stand side by side, as `cls+patch_mean`.

An array of another store than the main one is `STORE:NAME`.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from cache_schema.common.short_forms import reads

BESIDE = "+"
"""No array's name has it (`[a-z][a-z0-9_]{0,63}`), so the names can be told apart again."""


def token_names(tokens: str) -> tuple[str, ...]:
    """The arrays, in the order in which their numbers stand."""
    return tuple(tokens.split(BESIDE))


OF = ":"
"""Between a store's name and its array's."""


def at_home(tokens: str) -> tuple[str | None, str]:
    """The one other store that all arrays are of, if they are, and their names there.

    Such bags are that store's own: its slices need not be those of the main one.

    Example:
        >>> at_home("coronal:cls+coronal:patch_mean"), at_home("cls+coronal:cls")
        (('coronal', 'cls+patch_mean'), (None, 'cls+coronal:cls'))
    """
    stores = {name.partition(OF)[0] if OF in name else None for name in token_names(tokens)}
    if len(stores) > 1 or None in stores:
        return None, tokens
    return stores.pop(), BESIDE.join(name.partition(OF)[2] for name in token_names(tokens))


@reads({"type": "array", "items": {"type": "string"}, "minItems": 1})
def _one_text(value: Any) -> Any:
    """Read a list of arrays as one name."""
    several = isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value)
    return BESIDE.join(value) if several else value


def _each_once(value: str) -> str:
    names = token_names(value)
    if "" in names or len(set(names)) < len(names):
        raise ValueError(f"tokens names each array once, e.g. cls, or [cls, patch_mean], not {value!r}")
    return value


StoreName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
"""What another store is called: as arrays are."""
Tokens = Annotated[str, BeforeValidator(_one_text), AfterValidator(_each_once)]
"""`cls`, or `[cls, patch_mean]`: the numbers of both, side by side."""
