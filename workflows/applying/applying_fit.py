"""What is known before rows are gone over: the atoms' classes, and the moments of pairs; from where, and kept."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from isoenergy.applying.written_choices import is_linear, needs_classes
from isoenergy.errors import InputError
from isoenergy.evaluation.carried import CarriedConfig, carried_by, take_carried
from isoenergy.evaluation.fit import MOMENTS_FILE, STATISTICS_FILE, FitConfig, fit, spread_fit
from isoenergy.evaluation.measured_rows import SaeReference
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.joint import Autoencoder, JointAutoencoder
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_moments import PairMoments
from isoenergy.storage import strict_json
from isoenergy.storage.files import open_filesystem, without_secrets, write_atomically
from isoenergy.store import EmbeddingStore, Manifest
from workflows.applying.applying_engines import ApplyingEngine
from workflows.evaluation.evaluated_saes import sae_reference
from workflows.settings.apply_settings import ApplyConfig

_FOLDER = "fitted"
_FROM_EVALUATION, _CARRIED, _FITTED_HERE = "evaluation", "SAE", "train split"
_EVALUATION_FILE = "evaluation.json"
_TEXTS = {
    _FROM_EVALUATION: "an evaluation's train split",
    _CARRIED: "the train split that the SAE was trained on",
    _FITTED_HERE: "this store's train split",
}


@dataclass(frozen=True)
class FittedFiles:
    """Statistics and moments as files, those of them that are needed."""

    files: dict[str, bytes]
    source: str
    """Where they come from, in a word; empty if nothing is needed."""
    text: str
    """For people."""

    @property
    def digest(self) -> str:
        """SHA-256 of the files; empty if there are none."""
        content = b"".join(name.encode() + data for name, data in sorted(self.files.items()))
        return hashlib.sha256(content).hexdigest() if content else ""

    def load(self) -> tuple[ConceptStatistics | None, PairMoments | None]:
        """Return what the files hold."""
        with tempfile.TemporaryDirectory() as temporary:
            for name, data in self.files.items():
                (Path(temporary) / name).write_bytes(data)
            statistics = (
                ConceptStatistics.load(Path(temporary) / STATISTICS_FILE) if STATISTICS_FILE in self.files else None
            )
            moments = PairMoments.load(Path(temporary) / MOMENTS_FILE) if MOMENTS_FILE in self.files else None
        return statistics, moments

    def keep(self, output: str) -> None:
        """Write the files below an output: a run that goes on takes them from there."""
        filesystem, root = open_filesystem(output)
        for name, data in self.files.items():
            write_atomically(filesystem, f"{root}/{_FOLDER}/{name}", data)


def require_classes(config: ApplyConfig, sae: Autoencoder, store: Manifest, begun: bool) -> None:
    """Raise InputError if something is to be written that is fitted in one space of two modalities, and none is.

    begun: whether an output has been begun, which holds what was fitted.
    """
    fitted = [write for write in config.writes if needs_classes(write) or is_linear(write)]
    if not fitted:
        return
    instead = "write codes, reconstructed and original"
    if isinstance(sae, JointAutoencoder):
        raise InputError(
            f"{config.sae} has a dictionary for each modality, and no one space in which there would be a gap; "
            f"{instead}"
        )
    there, what = store.modalities, f"{', '.join(fitted)} come of what two modalities of one width share"
    if len(sae.config.modalities) < 2:
        raise InputError(f"{what}, and {config.sae} is of {sae.config.modalities[0]} alone; {instead}")
    is_paired = len(there) == 2 and len(set(there.values())) == 1
    if not (is_paired or config.evaluation or begun or carried_by(config.sae)):
        shown = f"{', '.join(there)}{' alone' * (len(there) == 1)}"
        raise InputError(
            f"{what}, and {without_secrets(config.store)} holds {shown}; give --evaluation of this SAE on both, an SAE "
            f"that carries them as `isoenergy train` leaves it, or {instead}"
        )


def _wanted(config: ApplyConfig) -> list[str]:
    wanted = [STATISTICS_FILE] * any(map(needs_classes, config.writes))
    return wanted + [MOMENTS_FILE] * any(map(is_linear, config.writes))


def fitted_files(
    config: ApplyConfig, sae: Autoencoder, store: EmbeddingStore, begun: dict[str, Any], engine: ApplyingEngine
) -> FittedFiles:
    """Return what is needed: from an evaluation, the output's own, what the SAE carries, or fitted on the store.

    begun: `applied` of the manifest that is in the output; empty if there is none.
    Raises InputError if an evaluation has no such SAE, or there are no pairs to fit on.
    """
    wanted = _wanted(config)
    if not wanted:
        return FittedFiles({}, "", "not needed for this")
    if config.evaluation:
        return _of_evaluation(config, sae, wanted)
    if begun:
        text = f"as this output was begun with, on {_TEXTS[begun['fitted_on']]}"
        return FittedFiles(_read(f"{config.output.rstrip('/')}/{_FOLDER}", wanted), begun["fitted_on"], text)
    if (carried := carried_by(config.sae)) is not None:
        reference = sae_reference(config.sae, sae)
        configs = {
            STATISTICS_FILE: CarriedConfig(reference.uri, carried, reference),
            MOMENTS_FILE: CarriedConfig(reference.uri, carried),
        }
        files = {name: _made(partial(take_carried, configs[name]), name) for name in wanted}
        text = f"on {_TEXTS[_CARRIED]}, {carried.pairs:,} pairs: the SAE carries it"
        return FittedFiles(files, _CARRIED, text)
    assert isinstance(sae, SparseAutoencoder)  # see require_classes
    store.shards.require_pairs_of_one_width()
    if not store.pairs_in("train"):
        raise InputError(
            f"{config.store} has no pairs in its train split to fit classes and means on; give --evaluation, or write "
            f"only codes, reconstructed and original"
        )
    pairs = min(config.fit_pairs, store.pairs_in("train"))
    fitting = spread_fit(store, "train", config.fit_pairs)
    files = engine.call(partial(_fit, fitting, sae, wanted))
    return FittedFiles(files, _FITTED_HERE, f"on at most {pairs:,} pairs of {_TEXTS[_FITTED_HERE]}, now")


def _fit(fitting: FitConfig, sae: SparseAutoencoder, wanted: Sequence[str]) -> dict[str, bytes]:
    """Fit the classes on an SAE's codes, and the moments on the embeddings themselves, of unit norm.

    The SAE is given as it was read, as its files may be another library's, and lack the threshold that it has got.
    """
    with tempfile.TemporaryDirectory() as own:
        sae.save(own)
        of = {STATISTICS_FILE: SaeReference(own, sae.digest), MOMENTS_FILE: None}
        return {name: _made(partial(fit, replace(fitting, sae=of[name])), name) for name in wanted}


def _made(step: Callable[[dict[str, Path], Path], object], name: str) -> bytes:
    """Return a file that a function writes into a folder."""
    with tempfile.TemporaryDirectory() as temporary:
        step({}, Path(temporary))
        return (Path(temporary) / name).read_bytes()


def _of_evaluation(config: ApplyConfig, sae: Autoencoder, wanted: Sequence[str]) -> FittedFiles:
    uri = config.evaluation.rstrip("/").removesuffix(f"/{_EVALUATION_FILE}")
    filesystem, root = open_filesystem(uri)
    try:
        summary = strict_json.loads(filesystem.cat_file(f"{root}/{_EVALUATION_FILE}").decode())
        of_sae = next((each for each in summary["saes"] if each["digest"] == sae.digest), None)
        if of_sae is None:
            there = ", ".join(each["name"] for each in summary["saes"])
            raise InputError(f"{config.evaluation} is of other SAEs than {config.sae} ({there}); give one of this SAE")
        folders = {STATISTICS_FILE: of_sae["fit"], MOMENTS_FILE: summary["original"]["fit"]}
    except (OSError, ValueError) as error:
        raise InputError(f"{config.evaluation} is no evaluation that can be read ({error})") from error
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{config.evaluation} does not say what was fitted, as by an earlier version of isoenergy, or of more than "
            f"two modalities; run `isoenergy evaluate` again, or leave --evaluation out"
        ) from error
    files: dict[str, bytes] = {}
    for name in wanted:
        files |= _read(f"{uri}/{folders[name]}", [name])
    return FittedFiles(files, _FROM_EVALUATION, f"those of {without_secrets(config.evaluation)}")


def _read(folder: str, names: Sequence[str]) -> dict[str, bytes]:
    filesystem, root = open_filesystem(folder)
    try:
        return {name: filesystem.cat_file(f"{root}/{name}") for name in names}
    except OSError as error:
        raise InputError(
            f"{without_secrets(folder)} lacks what was fitted, and was there before ({error}); bring it back, or give "
            f"another --output"
        ) from error
