"""What `isoenergy share` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from workflows.arguments import parse_config

_VISIBILITY = tyro.conf.create_mutex_group(required=False)


@dataclass(frozen=True)
class ShareConfig:
    """Put a trained autoencoder on the Hugging Face hub: weights, configuration and card, in one commit.

    The token is the one of `hf auth login`, or HF_TOKEN, and needs the right to write.
    """

    sae: Annotated[str, tyro.conf.Positional]
    """Folder or fsspec URL of the autoencoder, as `isoenergy train` leaves it."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ORG/NAME")]
    """ORG/NAME on the hub; ORG is your user name or an organisation of yours."""
    private: Annotated[bool, _VISIBILITY, tyro.conf.FlagCreatePairsOff] = False
    """Only you and your organisation see it. The default."""
    public: Annotated[bool, _VISIBILITY, tyro.conf.FlagCreatePairsOff] = False
    """Everybody sees it."""
    dry_run: bool = False
    """Upload nothing; show what would be uploaded, and the first lines of the card."""


def parse(arguments: Sequence[str] | None) -> ShareConfig:
    """Return what a command line asks for."""
    return parse_config(ShareConfig, arguments, "isoenergy share")
