"""`isoenergy share`: put a trained autoencoder on the Hugging Face hub."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.fetching import HUB, card_of, hub_name, optional_file
from isoenergy.sae.sae_config import CARD_FILE, FITTED_FILE
from isoenergy.sae.sharing import upload, write_card
from isoenergy.storage.files import without_secrets
from workflows.command import run_command
from workflows.settings.share_settings import ShareConfig, parse

_SHOWN_LINES = 12


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
        with tempfile.TemporaryDirectory() as fetched:
            fitted = optional_file(config.sae, FITTED_FILE, Path(fetched))
            if fitted is not None:
                shutil.copyfile(fitted, folder / FITTED_FILE)
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


def start(config: ShareConfig) -> None:
    """Share, and print where."""
    print(run(config))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
