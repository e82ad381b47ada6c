"""A report whose explorer has as many atoms as asked for: all made up, but for the pictures' weight.

The pictures have the spectrum of photographs, and shapes on them: they take the bytes that photographs of all kinds do.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from isoenergy.evaluation.results import CAPTIONS_FILE, EDGES_FILE, EXPLORER_FILE, PLACES_FILE
from isoenergy.pairs.thumbnails import PIXELS, fitting_form, strip, thumbnail
from isoenergy.report.page.page import write_report
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.activation_histogram import BINS
from isoenergy.storage import strict_json
from tests.evaluation.evaluations import evaluated, run_steps_here, shifted_pairs, write_pairs, write_sae
from workflows.evaluation.evaluation_graph import STRIP_BYTES

NAMES = ("beta-0", "beta-0.0025")
"""The SAEs; the second's atoms are made up."""
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script><!-- hostile"
OF_CATS = ("education for all", "a cat on a mat")
"""Of the second atom's strongest image, and of the third's weakest."""
PAIRS_PER_ATOM = 9
_DIM = 6
_STRIPS = 48
"""Different ones; further atoms have these again, which the page does not know."""
_FIRST_PAIR = 1_000_000
_WORDS = (
    ("small", "large", "red", "green", "wooden", "striped", "sleeping", "old", "bright", "painted"),
    ("zebra", "bicycle", "lighthouse", "teapot", "violin", "mountain", "market", "kitchen", "harbour", "balloon"),
    ("photograph", "sketch", "poster", "painting", "close-up"),
)


def write_made_up_report(folder: Path, atoms: int = 4096, output: str = "") -> str:
    """Evaluate two small SAEs, put `atoms` made-up ones in the place of the second's, and write the page."""
    evaluation = folder / "evaluation"
    with pytest.MonkeyPatch.context() as patch:
        run_steps_here(patch)
        store = write_pairs(folder / "store", *shifted_pairs(120, _DIM), rows_a_unit=120)
        configs = [SaeConfig(dim=_DIM, atoms=20, k=3, beta=beta) for beta in (0.0, 0.0025)]
        saes = [write_sae(folder / name, config) for name, config in zip(NAMES, configs, strict=True)]
        found = evaluated(store, saes, evaluation, sample=20)
    write_made_up_explorer(evaluation / "made-up", atoms)
    write_made_up_places(evaluation / "made-up", atoms)
    found["saes"][1] |= {"explorer": "made-up", "atom_map": "made-up"}
    (evaluation / "evaluation.json").write_text(strict_json.dumps(found))
    return write_report(f"{evaluation}/evaluation.json", output or f"{folder}/report.html")[0]


def made_up_atoms(folder: Path) -> list[dict[str, Any]]:
    """The second SAE's atoms in a folder that `write_made_up_report` filled, with their captions."""
    made_up = folder / "evaluation" / "made-up"
    named = pq.read_table(made_up / CAPTIONS_FILE).to_pydict()
    captions = dict(zip(named["pair"], named["caption"], strict=True))
    table = pq.read_table(made_up / EXPLORER_FILE).drop_columns(["strip"])
    return [
        row | {f"{m}_captions": [captions[pair] for pair in row[f"{m}_pairs"]] for m in ("image", "text")}
        for row in table.to_pylist()
    ]


def write_made_up_explorer(folder: Path, atoms: int) -> None:
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True)
    score = np.clip(generator.beta(0.4, 0.4, atoms), 1e-3, 1 - 1e-3)
    energy = np.exp(generator.normal(-8, 1.5, atoms))
    q_value = np.where(generator.random(atoms) < 0.1, np.nan, generator.random(atoms) ** 4)
    sharedness = np.minimum(score, 1 - score) / np.maximum(score, 1 - score)
    correlation = 0.9 * sharedness
    columns = {
        "atom": generator.permutation(atoms),
        "energy": energy,
        "image_energy": 2 * energy * score,
        "text_energy": 2 * energy * (1 - score),
        "frequency": generator.beta(1, 30, atoms),
        "modality_score": score,
        "class": np.select([score > 0.95, score < 0.05], ["image_only", "text_only"], "bimodal"),
        "q_value": pa.array(q_value, from_pandas=True),
        "sharedness": sharedness,
        "sharedness_low": sharedness * 0.9,
        "sharedness_high": np.minimum(1, sharedness * 1.1),
        "correlation": correlation,
        "correlation_low": correlation - 0.05,
        "correlation_high": correlation + 0.05,
        "lift": 1 + 20 * correlation,
        "agrees": correlation > 0.1,
        "strip": pa.array(strips(atoms), pa.binary()),
        "partners": list(generator.integers(0, atoms, (atoms, 5))),
        "weights": list(-np.sort(-generator.exponential(1e-3, (atoms, 5)), axis=1)),
        "atom_is_image": list(generator.random((atoms, 5)) < 0.5),
    }
    pairs = _FIRST_PAIR + np.arange(2 * PAIRS_PER_ATOM * atoms).reshape(2, atoms, PAIRS_PER_ATOM)
    for number, modality in enumerate(("image", "text")):
        columns[f"{modality}_pairs"] = list(pairs[number])
        columns[f"{modality}_values"] = list(-np.sort(-generator.random((atoms, PAIRS_PER_ATOM)), axis=1))
        columns[f"{modality}_cells"] = [np.arange(PAIRS_PER_ATOM) + number * PAIRS_PER_ATOM] * atoms
        places = np.arange(BINS)
        peaks = np.exp(-((places - generator.integers(20, 36, atoms)[:, None]) ** 2) / 30)
        columns[f"{modality}_histogram"] = list((peaks * generator.integers(2, 5000, atoms)[:, None]).astype(np.int64))
    pq.write_table(pa.table(columns), folder / EXPLORER_FILE)
    shown = [caption(generator, pair) for pair in pairs.ravel().tolist()]
    shown[0], shown[PAIRS_PER_ATOM], shown[3 * PAIRS_PER_ATOM - 1] = HOSTILE, *OF_CATS
    pq.write_table(pa.table({"pair": pairs.ravel(), "caption": shown}), folder / CAPTIONS_FILE)


def write_made_up_places(folder: Path, atoms: int) -> None:
    """All atoms on a map, in groups; no bridges."""
    generator = np.random.default_rng(2)
    places = (generator.normal(size=(30, 2)) * 10)[generator.integers(0, 30, atoms)] + generator.normal(size=(atoms, 2))
    coordinates = {f"{by}_{axis}": places[:, number] for by in ("pca", "umap") for number, axis in enumerate("xy")}
    columns = {"atom": np.arange(atoms), "energy": np.ones(atoms), "modality_score": generator.random(atoms)}
    pq.write_table(pa.table(columns | coordinates), folder / PLACES_FILE)
    none = {
        "image_atom": pa.array([], pa.int64()),
        "text_atom": pa.array([], pa.int64()),
        "weight": pa.array([], pa.float64()),
    }
    pq.write_table(pa.table(none), folder / EDGES_FILE)


def caption(generator: np.random.Generator, pair: int) -> str:
    adjective, noun, kind = (words[generator.integers(len(words))] for words in _WORDS)
    return f"{kind} of a {adjective} {noun} and a {_WORDS[1][pair % 10]}, number {pair}"


@cache
def strips(atoms: int) -> list[bytes]:
    """A strip an atom, as large as they may be."""
    generator = np.random.default_rng(1)
    drawn = [[thumbnail(picture(generator)) for _ in range(2 * PAIRS_PER_ATOM)] for _ in range(min(_STRIPS, atoms))]
    form = fitting_form(drawn[:4], atoms * 2 * PAIRS_PER_ATOM, STRIP_BYTES)
    made = [strip(pictures, form) for pictures in drawn]
    return [made[atom % len(made)] for atom in range(atoms)]


def picture(generator: np.random.Generator) -> Image.Image:
    """Noise of the spectrum of photographs in random colours, and shapes."""
    grey = _noise(generator, 1.0) * 48
    colours = [grey + _noise(generator, 1.3) * 18 + generator.integers(40, 216) for _ in range(3)]
    image = Image.fromarray(np.clip(np.stack(colours, 2), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(3):
        x, y = generator.integers(0, PIXELS, 2)
        radius = generator.integers(4, 20)
        colour = tuple(generator.integers(0, 256, 3).tolist())
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def _noise(generator: np.random.Generator, exponent: float) -> npt.NDArray[np.float64]:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(PIXELS), np.fft.rfftfreq(PIXELS), indexing="ij"))
    frequency[0, 0] = 1
    phases = np.exp(2j * np.pi * generator.random(frequency.shape))
    noise = np.fft.irfft2(phases / frequency**exponent, (PIXELS, PIXELS))
    return noise / noise.std()
