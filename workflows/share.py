"""`isoenergy share`: put a trained autoencoder on the Hugging Face hub."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.fetching import HUB, card_of, hub_name
from isoenergy.sae.sae_config import CARD_FILE
from isoenergy.sae.sharing import upload, write_card
from isoenergy.storage.files import without_secrets
from workflows.arguments import parse_config
from workflows.command import run_command

_SHOWN_LINES = 12
_VISIBILITY = tyro.conf.create_mutex_group(required=False)


@dataclass(frozen=True)
class ShareConfig:
    """Put a trained autoencoder on the Hugging Face hub: weights, configuration and card, in one commit.

    The token is the one of `hf auth login`, or HF_TOKEN, and needs the right to write.
    """

    sae: Annotated[str, tyro.conf.Positional]
    """Folder or fsspec URL of the autoencoder, as `isoenergy train` leaves it."""
    name: Annotated[str, tyro.conf.Positional]
    """ORG/NAME on the hub; ORG is your user name or an organisation of yours."""
    private: Annotated[bool, _VISIBILITY, tyro.conf.FlagCreatePairsOff] = False
    """Only you and your organisation see it. The default."""
    public: Annotated[bool, _VISIBILITY, tyro.conf.FlagCreatePairsOff] = False
    """Everybody sees it."""
    dry_run: bool = False
    """Upload nothing; show what would be uploaded, and the first lines of the card."""


def run(config: ShareConfig) -> str:
    """Return the URL, or what would be uploaded. Raises InputError if it is no autoencoder or the hub refuses it."""
    if config.private and config.public:
        raise InputError("give --private or --public, not both")
    name = hub_name(config.name)
    if config.sae.startswith(HUB):
        raise InputError(f"{config.sae} is on the hub already; expected a folder or a URL such as s3://…")
    sae = SparseAutoencoder.load(config.sae)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sae.save(folder)
        write_card(sae.config, card_of(config.sae), name, folder)
        if config.dry_run:
            return "\n".join(_planned(config, name, sae, folder))
        return upload(folder, name, private=not config.public)


def _planned(config: ShareConfig, name: str, sae: SparseAutoencoder, folder: Path) -> Iterator[str]:
    from huggingface_hub import constants  # takes a second to import

    yield f"repository   {name} on {without_secrets(constants.ENDPOINT)}"
    yield f"visibility   {'public' if config.public else 'private'}"
    yield f"weights      {sae.config.atoms:,} atoms of width {sae.config.dim:,}, digest {sae.digest}"
    for file in sorted(folder.iterdir()):
        yield f"file         {file.stat().st_size:>13,} bytes  {file.name}"
    for line in (folder / CARD_FILE).read_text(encoding="utf-8").splitlines()[:_SHOWN_LINES]:
        yield f"card         {''.join(character for character in line if character.isprintable())}".rstrip()
    yield "nothing was uploaded: --dry-run"


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and print."""
    print(run(parse_config(ShareConfig, arguments, "isoenergy share")))


if __name__ == "__main__":
    run_command(main)
