"""The backbone's weights, and whether anybody would look for them on the network."""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cache_schema.common.errors import ConfigError, StoreError
from cache_schema.store.create import read_header
from extract.backbones.backbone import NamedBackbone
from extract.backbones.custom import CustomBackboneSpec
from extract.backbones.present import weights_missing
from extract.doctor.finding import Finding, Level
from extract.planning.config import ExtractSection

SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
SET = ("1", "true", "yes", "on")
PATIENCE_S = 5.0
SHOWN_DIGITS = 16


def look_at_weights(section: ExtractSection, location: str, base: Path, ask_network: bool) -> list[Finding]:
    """Network, weights, and the store's weights beside them; the only look that may call out."""
    spec, missing = section.backbone.located(base), weights_missing(section.backbone, base)
    facts = network_facts(spec, missing, section.offline, ask_hub() if ask_network else None)
    findings = [judge_network(facts)]
    try:
        digest = None if missing is not None else digest_of(spec)
    except ConfigError as error:  # a lock that the files do not keep, a file that is no checkpoint
        advice = "slicecache backbone fetch PIPELINE, where there is internet"
        return [*findings, Finding("weights", "problem", str(error), advice)]
    findings.append(judge_weights(spec, facts, digest))
    if "://" in location and not ask_network:
        return findings
    try:
        header = read_header(location)
    except StoreError as error:
        return [*findings, Finding("store", "problem", str(error), "name another place in cache.store")]
    theirs = "" if header is None else header.fingerprint.backbone.weights_sha256
    return findings + judge_store_weights(theirs, digest)


def digest_of(spec: NamedBackbone) -> str | None:
    """Digest of the weights as it stands in a fingerprint; None without torch, or where only a target knows.

    Raises:
        ConfigError: If they cannot be read, or are not those of the lock.
    """
    if isinstance(spec, CustomBackboneSpec):
        return None
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        return None
    from extract.backbones.weights import weights_digest

    return weights_digest(spec.load(offline=True).weights)


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """Who would look where."""

    hub: str
    """Id of a repository; empty where nothing is looked for."""
    missing: str | None
    """Why the weights are not here."""
    offline: bool
    """`extract.offline`."""
    locked: bool
    switches: tuple[str, ...]
    """Of the environment that are set."""
    answer: str | None = None
    """Why the hub cannot be reached; None when nobody asked, empty when it answered."""

    @property
    def closed(self) -> tuple[str, ...]:
        """What keeps an extraction from asking the network."""
        ours = {"extract.offline": self.offline, "the lock": self.locked}
        return (*(name for name, set_ in ours.items() if set_), *self.switches)


def network_facts(
    spec: NamedBackbone,
    missing: str | None,
    offline: bool,
    answer: str | None,
    environment: Mapping[str, str] = os.environ,
) -> NetworkFacts:
    """What would be looked for where."""
    source = spec.hub()
    switches = tuple(name for name in SWITCHES if environment.get(name, "").lower() in SET)
    hub = "" if source is None else source.repository
    return NetworkFacts(hub, missing, offline, spec.lock_file is not None, switches, answer)


def ask_hub() -> str:
    """Why the hub cannot be reached; empty when it answers."""
    from huggingface_hub import constants

    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S):
            return ""
    except urllib.error.HTTPError:
        return ""  # it answers
    except (OSError, ValueError) as error:
        return f"{constants.ENDPOINT}: {getattr(error, 'reason', error)}"


def judge_network(facts: NetworkFacts) -> Finding:
    """Whether a job would wait for a network that it may not have."""
    if facts.answer:
        bad = facts.missing is not None and facts.hub
        advice = "fetch on a node with internet: slicecache backbone fetch PIPELINE"
        return Finding("network", "problem" if bad else "note", f"no answer from {facts.answer}", advice)
    answered = "the hub answers; " if facts.answer == "" else ""
    if not facts.hub:
        return Finding("network", "ok", f"{answered}not needed: this backbone looks for nothing there")
    closed = facts.closed
    if closed:
        return Finding("network", "ok", f"{answered}not used ({', '.join(closed)})")
    if facts.missing is None:
        advice = "without internet set extract.offline: true, or every task waits for an answer first"
        return Finding(
            "network", "note", f"{answered}the hub would be asked for news of {facts.hub!r}", advice
        )
    advice = "with many tasks fetch once: slicecache backbone fetch PIPELINE"
    return Finding("network", "note", f"{answered}{facts.hub!r} would be fetched from there", advice)


def judge_weights(spec: NamedBackbone, facts: NetworkFacts, digest: str | None) -> Finding:
    """Whether they are here, and their digest where somebody could read them.

    A pipeline names them, so that it is a problem where they are not; a note only where the hub was asked
    and answered, and an extraction may ask it.
    """
    if facts.missing is not None:
        may_be_fetched = facts.hub and facts.answer == "" and not facts.closed
        level: Level = "note" if may_be_fetched else "problem"
        return Finding("weights", level, facts.missing, "slicecache backbone fetch PIPELINE on a login node")
    shown = "" if digest is None else f", weights digest {digest[:SHOWN_DIGITS]}"
    return Finding("weights", "ok", f"{spec.source()}{shown}{', as locked' if facts.locked else ''}")


def judge_store_weights(theirs: str, ours: str | None) -> list[Finding]:
    """A store that was made with other weights would refuse this backbone after everything was loaded.

    Args:
        theirs: Digest in the store's header; empty where there is no store.
        ours: Digest of the pipeline's weights; None when nobody read them.
    """
    if not theirs or ours is None or theirs == ours:
        return []
    found = f"the store was made with weights {theirs[:SHOWN_DIGITS]}, these are {ours[:SHOWN_DIGITS]}"
    return [Finding("store", "problem", found, "name the backbone that made the store, or another store")]
