"""The SAEs of an evaluation: what steps know of them, which differ in their seed alone, and what they carry."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from isoenergy.evaluation.carried import Carried, carried_by
from isoenergy.evaluation.measured_rows import (
    SaeReference,
)
from isoenergy.sae.fetching import HUB
from isoenergy.sae.joint import Autoencoder
from isoenergy.sae.sae_config import FITTED_FILE
from isoenergy.storage.files import absolute_uri, last_part


def carried_by_all(saes: Mapping[str, Autoencoder]) -> Carried | str:
    """Return where the sums come from that all SAEs carry, or why there is no such file."""
    found = {uri: carried_by(uri) for uri in saes}
    lacking = [uri for uri, carried in found.items() if carried is None]
    if lacking:
        return f"{lacking[0]} carries no {FITTED_FILE} of the store that it was trained on"
    different = list(dict.fromkeys(carried for carried in found.values() if carried is not None))
    return different[0] if len(different) == 1 else "the SAEs were trained on different stores"


def by_seed(saes: Mapping[str, Autoencoder]) -> dict[str, list[str]]:
    """Return the URIs of SAEs that `isoenergy train --seeds` has made together, by that of the first of them.

    They lie beside each other, are called alike but for the seed, `…-seed-0`, `…-seed-1`, and have one configuration.
    """
    groups: dict[tuple[str, Any], list[str]] = {}
    for uri, sae in saes.items():
        name = re.sub(r"-seed-\d+$", "-seed", uri.rstrip("/"))
        groups.setdefault((name if name != uri.rstrip("/") else uri, sae.config), []).append(uri)
    return {uris[0]: uris for uris in groups.values()}


def sae_reference(uri: str, sae: Autoencoder) -> SaeReference:
    """Return what a step knows of an SAE; the same weights with another k, say, are another SAE."""
    what = json.dumps([sae.digest, asdict(sae.config)], sort_keys=True)
    digest = hashlib.sha256(what.encode()).hexdigest()
    return SaeReference(uri if uri.startswith(HUB) else absolute_uri(uri), digest)


def step_prefix(sae: SaeReference) -> str:
    """Return the first part of the names of an SAE's steps."""
    return f"{last_part(sae.uri)}-{sae.digest[:6]}"
