"""What a bundle reads, of heads or of detectors, for whoever embeds images for it."""

from pathlib import Path

from aggregate.anomaly.study.bundle import DetectorCard, is_detector_bundle
from aggregate.bags.token_names import token_names
from aggregate.predict.bundle import BundleCard
from aggregate.predict.bundle_files import read_card
from cache_schema.common.errors import ConfigError
from cache_schema.store.wanted import WantedStore

READ_BY_DETECTORS = ("patches",)
"""Their foreground and intensity come with them."""


def wanted_by(bundle: Path) -> WantedStore:
    """What a bundle's folder says that it reads.

    Raises:
        SlicecacheError: If the folder is no bundle.
        ConfigError: As `wanted_by_card`.
    """
    if is_detector_bundle(bundle):
        return wanted_by_card(read_card(bundle, DetectorCard))
    return wanted_by_card(read_card(bundle, BundleCard))


def wanted_by_card(card: BundleCard | DetectorCard) -> WantedStore:
    """What a bundle's card says that it reads.

    Raises:
        ConfigError: If it reads from several stores, which are not made at once.
    """
    if isinstance(card, DetectorCard):
        return card.wants((*READ_BY_DETECTORS, *card.layers))
    if card.beside:
        names = " and ".join(sorted(card.beside))
        raise ConfigError(
            f"the bundle reads from {names} beside its main store: embed the images into each, and give "
            "STORE and --beside"
        )
    return card.wants(token_names(card.tokens))
