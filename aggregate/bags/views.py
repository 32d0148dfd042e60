"""The same slices seen otherwise: stores of one backbone and one preprocessing, but for how slices lie.

AnomalyDINO's references are turned, MST's test images mirrored; each view is a store of its own
(`extract: {stores: {main: {}, rot45: {view: {rotate_deg: 45}}}}`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from pydantic import model_validator

from aggregate.bags.bags import Bags
from aggregate.bags.beside import Beside, require_alike
from aggregate.bags.token_names import OF, StoreName
from cache_schema.common.errors import ConfigError
from cache_schema.common.short_forms import reads
from cache_schema.common.strict import Strict
from cache_schema.format.header import Header, require_equal
from cache_schema.store.reader import StoreReader, VolumeEntry

STEP = "view"
"""The preprocessing step in which views differ; a store of slices as they are has none."""
UPRIGHT = 90.0


class TestViewsSpec(Strict):
    """What a trained head reads beside the slices as they are; its logits are the mean over all of them."""

    __test__ = False  # no class of tests

    stores: tuple[StoreName, ...] = ()
    """Other stores of the same slices, mirrored or turned, e.g. `[lr, ap, both]`."""
    backwards: bool = False
    """Each of them, and the main one, also from the last slice to the first."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.stores)) < len(self.stores):
            raise ValueError("test_views names each store once")
        return self

    @property
    def several(self) -> bool:
        """Whether there is anything beside the slices as they are."""
        return bool(self.stores) or self.backwards


NO_VIEWS = TestViewsSpec()
"""The slices as they are, and nothing beside them."""


@reads({"type": "array", "items": {"type": "string"}})
def read_views(value: Any) -> Any:
    """`[lr, ap]` is `{stores: [lr, ap]}`."""
    return {"stores": value} if isinstance(value, list | tuple) else value


def view_of(header: Header) -> Mapping[str, Any]:
    """How a store's slices are turned and mirrored; empty for slices as they are."""
    steps = [step for step in header.fingerprint.preprocessing if step.get("step") == STEP]
    return {key: value for key, value in steps[0].items() if key != "step"} if steps else {}


def stands_upright(header: Header) -> bool:
    """Whether rows and columns run along axes of the volume, so that maps can be placed in it."""
    degrees = view_of(header).get("rotate_deg", 0.0)  # a stranger's may be anything
    return isinstance(degrees, int | float) and degrees % UPRIGHT == 0


def require_view(store: StoreReader, other: StoreReader, name: str, entries: Sequence[VolumeEntry]) -> None:
    """Refuse another store that is not a view of the same slices.

    Args:
        store: The main one.
        other: The view.
        name: What it is called.
        entries: Of the main store: what is read.

    Raises:
        StoreMismatch: If more than the view differs, naming the fields with both values.
        SlicecacheError: Naming volumes that are not there, or whose slices are not the same.
    """
    ours, theirs = (
        each.header.fingerprint.model_copy(
            update={
                "preprocessing": tuple(
                    step for step in each.header.fingerprint.preprocessing if step.get("step") != STEP
                )
            }
        )
        for each in (store, other)
    )
    require_equal(
        ours,
        theirs,
        f"the store {name!r} ({other.location}) (there) is no view of the slices of {store.location} (here)",
        "Extract it with the same keys and `view` beside them.",
    )
    require_alike(store, other, name, entries)


def with_views(
    bags: Bags,
    spec: TestViewsSpec,
    store: StoreReader,
    beside: Beside,
    tokens: str,
    entries: Sequence[VolumeEntry],
    read: Callable[[StoreReader, Sequence[VolumeEntry]], Bags],
) -> Bags:
    """Bags with the views that a head reads beside them.

    Args:
        bags: Of the slices as they are.
        spec: Says which views.
        store: The main one.
        beside: The others, by the names that the spec has.
        tokens: The arrays.
        entries: Volumes of the main store in the order of the bags.
        read: Gives the bags of the same volumes in another store.

    Raises:
        ConfigError: If a store is not given, or tokens are of several stores.
        SlicecacheError: If a store is no view of the same slices.
    """
    if spec.stores and OF in tokens:
        raise ConfigError(f"test_views: tokens are of one store there, not {tokens!r}")
    views = []
    for name in spec.stores:
        if name not in beside:
            raise ConfigError(
                f"test_views reads from a store {name!r}, which is not given; extract.stores names it, or "
                f"aggregate.stores: {{{name}: LOCATION}}, and for predict --beside {name}=LOCATION"
            )
        other = beside[name]
        require_view(store, other, name, entries)
        views.append(read(other, [other.entry(entry.key) for entry in entries]))
    if spec.backwards:
        views += [replace(each, backwards=True) for each in (bags, *views)]
    return replace(bags, views=tuple(views))
