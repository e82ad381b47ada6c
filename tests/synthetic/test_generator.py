from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from isoenergy.errors import InputError
from isoenergy.synthetic.generator import SyntheticConfig, SyntheticPairs, generate

PAPER = SyntheticConfig()


@pytest.fixture(scope="module", params=[(1.0, 0.4), (0.99, 0.4), (0.95, 0.9), (0.5, 0.4)], ids=str)
def made(request: pytest.FixtureRequest) -> tuple[SyntheticConfig, SyntheticPairs]:
    """The paper's combinations of τ₁ and τ₂, at its size."""
    config = replace(PAPER, instance_cosine=request.param[0], pair_cosine=request.param[1])
    return config, generate(config, 3)


def rows_of(codes: sparse.csr_array, part: slice) -> sparse.csr_array:
    return codes.tocsc()[:, part].tocsr()


def test_the_dictionaries_have_the_papers_sizes_and_unit_atoms(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    _, pairs = made
    assert pairs.parts.dictionary.shape == (140, 512)
    assert pairs.instances.dictionary.shape == (100, 512)
    assert pairs.merged.dictionary.shape == (60, 512)
    for truth in pairs.truths.values():
        np.testing.assert_allclose(np.linalg.norm(truth.dictionary, axis=1), 1)
        assert len(truth.families) == len(truth.dictionary)
        assert truth.image_codes.shape == truth.text_codes.shape == (10_000, len(truth.dictionary))


def test_each_family_lives_in_its_block(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    _, pairs = made
    images, texts, shared = range(51), range(51, 102), range(102, 512)
    blocks = {
        "image bias": [images],
        "text bias": [texts],
        "shared": [shared],
        "image part": [images],
        "text part": [texts],
    }
    for family, expected in blocks.items():
        atoms = pairs.parts.dictionary[pairs.parts.where(family)]
        inside = np.isin(np.arange(512), np.concatenate(expected))
        assert (atoms[:, inside] != 0).all()
        assert (atoms[:, ~inside] == 0).all()


def test_biases_of_a_modality_are_a_cone(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    _, pairs = made
    for family in ("image bias", "text bias"):
        atoms = pairs.parts.dictionary[pairs.parts.where(family)]
        assert len(atoms) == 10
        between = (atoms @ atoms.T)[np.triu_indices(10, 1)]
        assert between.mean() == pytest.approx(100 / 151, abs=0.05)
        assert between.min() > 0.4


def test_the_two_instances_of_a_concept_have_cosine_tau_1(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    config, pairs = made
    image, text = (pairs.instances.dictionary[pairs.instances.where(f"{m} instance")] for m in ("image", "text"))
    np.testing.assert_allclose((image * text).sum(1), config.instance_cosine, atol=1e-12)
    concept = pairs.merged.dictionary[pairs.merged.where("concept")]
    np.testing.assert_allclose((concept * image).sum(1), (concept * text).sum(1), atol=1e-12)
    assert ((concept * image).sum(1) >= config.instance_cosine - 1e-12).all()


def test_every_pair_has_cosine_tau_2_or_is_counted(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    config, pairs = made
    cosine = (pairs.images * pairs.texts).sum(1)
    np.testing.assert_allclose(cosine[pairs.reached], config.pair_cosine, atol=1e-6)
    assert (cosine[~pairs.reached] < config.pair_cosine).all()
    assert pairs.unreached == (~pairs.reached).sum() < 100
    np.testing.assert_allclose(np.linalg.norm(pairs.images, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(pairs.texts, axis=1), 1)


def test_codes_rebuild_the_embeddings(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    config, pairs = made
    for name in ("parts", "instances", *(["merged"] if config.instance_cosine == 1 else [])):
        truth = pairs.truths[name]
        np.testing.assert_allclose(truth.image_codes @ truth.dictionary, pairs.images, atol=1e-12)
        np.testing.assert_allclose(truth.text_codes @ truth.dictionary, pairs.texts, atol=1e-12)


def test_a_pair_has_one_bias_a_modality_and_nine_concepts_alike(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    _, pairs = made
    merged = pairs.merged
    for codes, own, other in (
        (merged.image_codes, "image bias", "text bias"),
        (merged.text_codes, "text bias", "image bias"),
    ):
        assert (rows_of(codes, merged.where(own)).count_nonzero(axis=1) == 1).all()
        assert rows_of(codes, merged.where(other)).count_nonzero() == 0
        concepts = rows_of(codes, merged.where("concept"))
        assert (concepts.count_nonzero(axis=1) == 9).all()
        values = concepts.data.reshape(-1, 9)
        np.testing.assert_allclose(values, values[:, :1].repeat(9, axis=1))
        assert values.min() > 0
    chosen = [(rows_of(c, merged.where("concept")) != 0).toarray() for c in (merged.image_codes, merged.text_codes)]
    np.testing.assert_array_equal(*chosen)


def test_concepts_are_as_frequent_as_draws_one_after_the_other() -> None:
    frequency = generate(replace(PAPER, dim=20), 0).merged.statistics.frequency[20:]
    weights = np.geomspace(0.5, 0.1, 40)
    weights /= weights.sum()
    random = np.random.default_rng(1)
    counts = np.zeros(40)
    for _ in range(10_000):
        counts[random.choice(40, 9, replace=False, p=weights)] += 1
    assert frequency.sum() == pytest.approx(9)
    np.testing.assert_allclose(frequency, counts / 10_000, atol=0.025)


def test_energies_are_those_of_the_codes(made: tuple[SyntheticConfig, SyntheticPairs]) -> None:
    config, pairs = made
    for truth in pairs.truths.values():
        dense = np.concatenate([truth.image_codes.toarray(), truth.text_codes.toarray()])
        np.testing.assert_allclose(truth.energy, np.square(dense).mean(0))
        np.testing.assert_allclose(truth.statistics.energy, truth.energy)
        np.testing.assert_allclose(truth.statistics.frequency, (dense != 0).mean(0))
    assert pairs.instances.bimodal_energy == 0
    concept = pairs.merged.energy[pairs.merged.where("concept")].sum() / pairs.merged.energy.sum()
    assert pairs.merged.bimodal_energy == pytest.approx(concept)
    parts = pairs.parts.energy[pairs.parts.where("image part")].sum() / pairs.parts.energy.sum()
    assert (parts > 0) == (config.instance_cosine < 1)


def test_the_papers_saved_run_has_this_gap() -> None:
    pairs = generate(PAPER, 0)
    means = pairs.images.mean(0), pairs.texts.mean(0)
    assert np.linalg.norm(means[0] - means[1]) == pytest.approx(0.92, abs=0.02)
    assert [np.linalg.norm(mean) for mean in means] == pytest.approx([0.73, 0.72], abs=0.03)


def test_no_smaller_coefficient_of_the_concepts_would_do() -> None:
    pairs = generate(replace(PAPER, dim=30, instance_cosine=0.6, pair_cosine=0.45, pairs=2000), 5)
    bias = slice(0, pairs.parts.where("shared").start)
    parts = []
    for codes in (pairs.parts.image_codes.toarray(), pairs.parts.text_codes.toarray()):
        codes = codes / codes[:, bias].sum(1, keepdims=True)  # back to a bias of coefficient 1
        parts.append([codes[:, part] @ pairs.parts.dictionary[part] for part in (bias, slice(bias.stop, None))])
    for smaller in np.linspace(0.01, 0.99, 99):
        images, texts = (offset + smaller * concepts for offset, concepts in parts)
        cosine = (images * texts).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)
        assert (cosine[pairs.reached] < 0.45).all()


def test_a_cosine_that_no_pair_can_reach_is_said() -> None:
    pairs = generate(replace(PAPER, instance_cosine=0.2, pair_cosine=0.6, pairs=50), 0)
    assert pairs.unreached == 50
    cosine = (pairs.images * pairs.texts).sum(1)
    assert (cosine < 0.6).all()
    assert np.isfinite(pairs.images).all()
    biases = pairs.instances.image_codes.toarray()[:, :10]
    assert biases.max() < 1e-4


def test_a_seed_gives_the_same_pairs_and_another_others() -> None:
    small = replace(PAPER, pairs=30)
    one, again, other = (generate(small, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.images, again.images)
    assert abs(one.images - other.images).max() > 0.1
    assert abs(one.parts.dictionary - other.parts.dictionary).max() > 0.1


def test_the_smallest_sizes_work() -> None:
    config = SyntheticConfig(dim=10, instances=10, atoms_per_row=2, pairs=1, instance_cosine=0.9)
    pairs = generate(config, 0)
    assert pairs.parts.dictionary.shape == (2 + 3 * 4, 10)
    np.testing.assert_allclose(pairs.parts.image_codes @ pairs.parts.dictionary, pairs.images)
    everything = generate(replace(config, atoms_per_row=5, pairs=7), 0)
    assert (everything.merged.statistics.frequency[2:] == 1).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 9},
        {"instances": 9},
        {"instances": 101},
        {"pairs": 0},
        {"atoms_per_row": 1},
        {"atoms_per_row": 42},
        {"instance_cosine": 0.0},
        {"instance_cosine": 1.1},
        {"instance_cosine": float("nan")},
        {"pair_cosine": 0.0},
        {"pair_cosine": 1.0},
    ],
)
def test_impossible_settings_are_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        replace(PAPER, **wrong)
