"""What only shows beside the rest of the cohort: zero tokens, strange norms, numbers stored twice.

A store can match all its hashes and still hold rubbish, when what wrote it was wrong. These checks ask
whether the numbers look like embeddings of different images.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema.common.problem import LOOK_AT_IMAGE, REMOVE_ONE, Problem
from cache_schema.format.digests.token_statistics import same_statistics, token_statistics
from cache_schema.format.header import ArraySpec
from cache_schema.format.identity import VolumeKey
from cache_schema.format.record import VolumeRecord

ROBUST_SDS = 8.0
"""A volume's largest or smallest token norm may lie so many robust standard deviations (1.4826 times
the median absolute deviation, of logarithms) from the cohort's median."""
FACTOR = 3.0
"""Within this factor of the median nothing is called strange, however alike the cohort is."""
MIN_VOLUMES = 8
"""In a smaller cohort there is no range to be out of."""


@dataclass(slots=True)
class Contents:
    """Collects what the cohort-wide checks need, volume by volume."""

    norms: dict[str, dict[VolumeKey, tuple[float, float]]] = field(default_factory=lambda: defaultdict(dict))
    """By array and volume, the smallest and largest token norm."""
    twins: dict[tuple[str, str], list[VolumeKey]] = field(default_factory=lambda: defaultdict(list))
    """By array and digest of its kept numbers (without the key), the volumes that hold them."""

    def add(
        self, record: VolumeRecord, specs: Mapping[str, ArraySpec], arrays: Mapping[str, NDArray[Any]]
    ) -> list[Problem]:
        """Take one intact volume in; what is wrong with it alone.

        Args:
            record: The volume's record.
            specs: By array.
            arrays: Kept slices, `(slice, *rest)`, finite, that match the record's digest.
        """
        problems = []
        for name, spec in specs.items():
            found = token_statistics(spec, arrays[name])
            if not same_statistics(found, record.tokens[name]):
                text = "the record's token statistics are not those of the numbers"
                problems.append(Problem(str(record.key), name, text, LOOK_AT_IMAGE))
            if not is_token(spec):
                continue
            zero = zero_slices(arrays[name])
            if zero:
                text = f"{zero} of {len(arrays[name])} kept slices hold a token that is all zero"
                problems.append(Problem(str(record.key), name, text, LOOK_AT_IMAGE))
            self.norms[name][record.key] = (found["norm_min"], found["norm_max"])
            self.twins[name, numbers_digest(arrays[name])].append(record.key)
        return problems

    def problems(self) -> list[Problem]:
        """What is wrong among the volumes taken in."""
        return [*self._strange_norms(), *self._twins()]

    def _strange_norms(self) -> list[Problem]:
        """Volumes whose token norms lie out of the cohort's range."""
        found = []
        for name, by_key in self.norms.items():
            for column, word in enumerate(("smallest", "largest")):
                values = {key: pair[column] for key, pair in by_key.items() if pair[column] > 0}
                for key, value, low, high in out_of_range(values):
                    text = (
                        f"its {word} token norm is {value:.4g}, out of the cohort's range "
                        f"{low:.4g} to {high:.4g}"
                    )
                    found.append(Problem(str(key), name, text, LOOK_AT_IMAGE))
        return found

    def _twins(self) -> list[Problem]:
        """Volumes that hold exactly the numbers of another one, one problem for all arrays concerned."""
        names: dict[tuple[VolumeKey, tuple[VolumeKey, ...]], list[str]] = defaultdict(list)
        for (name, _), keys in self.twins.items():
            for key in keys:
                if len(keys) > 1:
                    names[key, tuple(other for other in keys if other != key)].append(name)
        return [
            Problem(
                str(key),
                ", ".join(sorted(arrays)),
                f"it holds exactly the numbers of {', '.join(map(str, others))}: duplicated",
                REMOVE_ONE,
            )
            for (key, others), arrays in names.items()
        ]


def is_token(spec: ArraySpec) -> bool:
    """Whether an array holds tokens, which are never all zero and differ between any two images."""
    return spec.dims[-1] == "dim"


def zero_slices(values: NDArray[Any]) -> int:
    """Slices in which a token is all zero; `(slice, *rest, dim)`."""
    alive = (values != 0).any(axis=-1).reshape(len(values), -1)
    return int((~alive.all(axis=1)).sum())


def numbers_digest(values: NDArray[Any]) -> str:
    """SHA-256 of an array's shape and numbers, without the volume's key."""
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def out_of_range(values: Mapping[VolumeKey, float]) -> list[tuple[VolumeKey, float, float, float]]:
    """Positive values that lie too far from the median: `(key, value, low, high)`.

    Logarithms are compared: `|log v - median| > max(ROBUST_SDS * 1.4826 * MAD, log FACTOR)`. Medians
    hold as long as less than half of the volumes are wrong.
    """
    if len(values) < MIN_VOLUMES:
        return []
    logs = np.log(np.fromiter(values.values(), dtype=np.float64))
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    limit = max(ROBUST_SDS * spread, float(np.log(FACTOR)))
    low, high = float(np.exp(middle - limit)), float(np.exp(middle + limit))
    return [(key, value, low, high) for key, value in values.items() if not low <= value <= high]
