"""Each column against a plain computation of it."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.applying.application import BATCH_ROWS, Application, AppliedRows
from isoenergy.applying.written_choices import WRITES, parse_writes
from isoenergy.errors import InputError
from isoenergy.evaluation.ways import WAYS
from isoenergy.interventions.removal import matched_atoms
from isoenergy.sae.joint import build_autoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_moments import PairMoments
from isoenergy.store.arrays import embedding_rows

DIM, ATOMS, K, ROWS = 8, 24, 5, 200
MODALITIES = ("image", "text")

SIMPLE = {
    "original": lambda x, z, d, classes, gains: x,  # noqa: ARG005
    "reconstructed": lambda x, z, d, classes, gains: z @ d,  # noqa: ARG005
    "bimodal": lambda x, z, d, classes, gains: (z * classes.bimodal) @ d,  # noqa: ARG005
    "unimodal": lambda x, z, d, classes, gains: (z * classes.unimodal) @ d,  # noqa: ARG005
    "less_unimodal": lambda x, z, d, classes, gains: x - (z * classes.unimodal) @ d,  # noqa: ARG005
    "equalised": lambda x, z, d, classes, gains: (z * gains) @ d,  # noqa: ARG005
    "less_unequal": lambda x, z, d, classes, gains: x - (z * (1 - gains)) @ d,  # noqa: ARG005
}


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    """Two cones."""
    random = np.random.default_rng(0)
    shared = random.standard_normal((ROWS, DIM))
    cones = {"image": 3 * np.eye(DIM)[0], "text": -3 * np.eye(DIM)[1]}
    return {
        name: (2 * (shared + 0.3 * random.standard_normal((ROWS, DIM)) + cone)).astype(np.float16)
        for name, cone in cones.items()
    }


@pytest.fixture(scope="module")
def sae() -> SparseAutoencoder:
    return SparseAutoencoder(SaeConfig(DIM, ATOMS, K, beta=0.0), torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def unit(vectors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: normalize(torch.from_numpy(rows).float(), dim=1) for name, rows in vectors.items()}


@pytest.fixture(scope="module")
def codes(sae: SparseAutoencoder, unit: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """`(rows, atoms)`, by modality."""
    with torch.no_grad():
        return {name: sae.encode(rows).to_dense(ATOMS).double().numpy() for name, rows in unit.items()}


@pytest.fixture(scope="module")
def statistics(sae: SparseAutoencoder, unit: dict[str, torch.Tensor]) -> ConceptStatistics:
    found = ConceptStatistics.zeros(ATOMS)
    with torch.no_grad():
        found.update(*(sae.encode(rows) for rows in unit.values()))
    return found


@pytest.fixture(scope="module")
def moments(unit: dict[str, torch.Tensor]) -> PairMoments:
    found = PairMoments.zeros(DIM)
    found.update(*unit.values())
    return found


def rows_of(made: AppliedRows, name: str) -> np.ndarray:
    return embedding_rows(pa.chunked_array([made.columns[name]]), DIM).astype(np.float64)


def test_codes_are_sorted_by_size_and_repeats_are_merged(
    sae: SparseAutoencoder, vectors: dict[str, np.ndarray], codes: dict[str, np.ndarray]
) -> None:
    application = Application.fitted(sae, ("codes",), "float32", normalised=False)
    made = application(vectors, application.grams(ROWS))
    assert list(made.columns) == ["image_atoms", "image_coefficients", "text_atoms", "text_coefficients"]
    for name in MODALITIES:
        atoms, coefficients = (made.columns[f"{name}_{what}"].to_pylist() for what in ("atoms", "coefficients"))
        assert min(map(len, atoms)) < K, "a row whose atoms repeat"
        for row in range(ROWS):
            order = sorted(np.flatnonzero(codes[name][row]), key=lambda atom: -abs(codes[name][row, atom]))
            assert atoms[row] == order
            np.testing.assert_allclose(coefficients[row], codes[name][row, order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("write", [name for name in WRITES if name != "codes"])
def test_vectors_are_what_a_plain_computation_gives(
    write: str,
    sae: SparseAutoencoder,
    vectors: dict[str, np.ndarray],
    unit: dict[str, torch.Tensor],
    codes: dict[str, np.ndarray],
    statistics: ConceptStatistics,
    moments: PairMoments,
) -> None:
    classes = statistics.classes()
    assert classes.bimodal.any()
    assert classes.unimodal.any()
    dictionary = sae.dictionary.detach().double().numpy()

    def plain(name: str) -> np.ndarray:
        x, z = unit[name].double().numpy(), codes[name]
        weights = {each: getattr(statistics, each).energy for each in MODALITIES}
        gains = np.sqrt(np.minimum(*weights.values()) / np.where(weights[name] > 0, weights[name], 1))
        gains = np.where(weights[name] > 0, gains, 1)
        if write in SIMPLE:
            return SIMPLE[write](x, z, dictionary, classes, gains)
        if write.endswith("subspace"):
            chosen = classes.bimodal if write == "bimodal_subspace" else classes.unimodal
            weighted = np.sqrt(statistics.energy[chosen])[:, None] * dictionary[chosen]
            _, sizes, directions = np.linalg.svd(weighted, full_matrices=False)
            rank = int(np.searchsorted(np.cumsum(sizes**2), 0.95 * (sizes**2).sum())) + 1
            inside = directions[:rank].T @ directions[:rank]
            return z @ dictionary @ (inside if write == "bimodal_subspace" else np.eye(DIM) - inside)
        if write == "matched_removal":
            away = matched_atoms(classes.unimodal, statistics.energy, statistics.frequency, seed=5).numpy()
            return (z * ~away) @ dictionary
        if write == "centred":
            return x - x.mean(axis=0)
        closing = WAYS[write].linear(moments, 5)
        return (closing.image if name == "image" else closing.text)(unit[name]).double().numpy()

    for normalised in (False, True):
        application = Application.fitted(sae, (write,), "float32", normalised, statistics, moments, seed=5)
        made = application(vectors, application.grams(ROWS))
        for name in MODALITIES:
            expected = plain(name)
            lengths = np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
            expected = expected / lengths if normalised else expected
            np.testing.assert_allclose(rows_of(made, f"{name}_{write}"), expected, atol=2e-5)


def test_half_precision_rounds_and_columns_come_in_the_order_that_was_asked_for(
    sae: SparseAutoencoder, vectors: dict[str, np.ndarray], moments: PairMoments
) -> None:
    writes = ("centred", "codes", "original")
    half, full = (
        Application.fitted(sae, writes, dtype, normalised=False, moments=moments) for dtype in ("float16", "float32")
    )
    rounded, exact = (each(vectors, each.grams(ROWS)) for each in (half, full))
    assert list(rounded.columns)[:4] == ["image_centred", "image_atoms", "image_coefficients", "image_original"]
    for name, column in exact.columns.items():
        numbers = column.flatten().to_numpy()
        other = rounded.columns[name].flatten().to_numpy()
        assert other.dtype == (np.int32 if "atoms" in name else np.float16)
        np.testing.assert_array_equal(other, numbers.astype(other.dtype))


def test_bad_rows_are_named_and_cost_no_others(
    sae: SparseAutoencoder, vectors: dict[str, np.ndarray], moments: PairMoments
) -> None:
    application = Application.fitted(sae, ("codes", "original"), "float16", normalised=False, moments=moments)
    many = {name: np.tile(rows, (2 * BATCH_ROWS // ROWS, 1)).astype(np.float32) for name, rows in vectors.items()}
    whole = application(many, application.grams(ROWS))
    many["image"][3] = 0
    many["text"][5, 2] = np.nan
    many["text"][BATCH_ROWS + 1, 0] = np.inf
    made = application(many, application.grams(ROWS))
    assert made.faults == {
        3: "image is zero",
        5: "text is not finite",
        BATCH_ROWS + 1: "text is not finite",
    }
    good = [row for row in range(len(many["image"])) if row not in made.faults]
    for name, column in whole.columns.items():
        assert made.columns[name].to_pylist() == column.take(pa.array(good)).to_pylist()


def test_a_row_whose_numbers_half_precision_cannot_hold(vectors: dict[str, np.ndarray]) -> None:
    raw = SparseAutoencoder(SaeConfig(DIM, ATOMS, K, beta=0.0, input="raw"), torch.Generator().manual_seed(3))
    given = {name: rows.astype(np.float32) for name, rows in vectors.items()}
    given["text"][7] *= 1e6
    half, full = (
        Application.fitted(raw, ("codes", "reconstructed"), dtype, normalised=False) for dtype in ("float16", "float32")
    )
    made = half(given, half.grams(ROWS))
    assert made.faults == {7: "text_codes is beyond float16"}
    assert {len(column) for column in made.columns.values()} == {ROWS - 1}
    assert not full(given, full.grams(ROWS)).faults


@pytest.mark.parametrize("rows", [0, 2])
def test_a_unit_without_a_good_row(rows: int, sae: SparseAutoencoder) -> None:
    application = Application.fitted(sae, ("codes", "reconstructed"), "float16", normalised=True)
    made = application({name: np.zeros((rows, DIM), np.float16) for name in MODALITIES}, application.grams(1))
    assert len(made.faults) == rows
    assert {len(column) for column in made.columns.values()} == {0}
    assert made.columns["text_reconstructed"].type == pa.list_(pa.float16(), DIM)


def test_one_modality_alone(sae: SparseAutoencoder, vectors: dict[str, np.ndarray]) -> None:
    application = Application.fitted(sae, ("codes",), "float16", normalised=False)
    both, one = (application(given, application.grams(ROWS)) for given in (vectors, {"text": vectors["text"]}))
    assert list(one.columns) == ["text_atoms", "text_coefficients"]
    assert one.columns["text_atoms"].equals(both.columns["text_atoms"])


def test_a_dictionary_for_each_modality() -> None:
    config = SaeConfig(10, 12, 3, beta=0.0, modalities=("image", "text"), widths=(6, 4))
    joint = build_autoencoder(config, torch.Generator().manual_seed(0))
    given = {
        name: np.random.default_rng(1).standard_normal((9, width)).astype(np.float32)
        for name, width in zip(MODALITIES, (6, 4), strict=True)
    }
    application = Application.fitted(joint, ("codes", "reconstructed"), "float32", normalised=False)
    made = application(given, application.grams(9))
    for name in MODALITIES:
        part = joint.part(name)
        with torch.no_grad():
            expected = part.decode(part.encode(part.prepare(given[name], name)))
        rows = embedding_rows(pa.chunked_array([made.columns[f"{name}_reconstructed"]]), given[name].shape[1])
        np.testing.assert_allclose(rows, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("text", ["", "codes,codes", "bimodel", ","])
def test_what_cannot_be_written_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write must be different names"):
        parse_writes(text)
