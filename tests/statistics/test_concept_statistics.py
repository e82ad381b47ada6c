from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy import SparseCodes
from isoenergy.statistics.concept_statistics import ConceptStatistics, ModalityStatistics, merged_code_matrix

ATOMS = 12


def random_codes(seed: int, rows: int) -> SparseCodes:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(ATOMS - 1, (rows, 4), generator=generator)
    return SparseCodes(indices, torch.rand(rows, 4, generator=generator) + 0.1, torch.zeros(rows, 3))


def of(image: SparseCodes, text: SparseCodes) -> ConceptStatistics:
    statistics = ConceptStatistics.zeros(ATOMS)
    statistics.update(image, text)
    return statistics


def assert_same(a: ConceptStatistics, b: ConceptStatistics) -> None:
    for name in ("image", "text"):
        for key, value in vars(getattr(a, name)).items():
            np.testing.assert_allclose(value, vars(getattr(b, name))[key])
    np.testing.assert_allclose(a.cross.toarray(), b.cross.toarray())


def test_sums_are_those_of_dense_codes() -> None:
    image, text = random_codes(0, 40), random_codes(1, 40)
    statistics = of(image, text)
    dense_image, dense_text = (codes.to_dense(ATOMS).double().numpy() for codes in (image, text))
    np.testing.assert_allclose(statistics.image.mean, dense_image.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.image.energy, (dense_image**2).mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.text.fires, (dense_text != 0).sum(0))
    np.testing.assert_allclose(statistics.text.l0, (dense_text != 0).sum(1).mean())
    np.testing.assert_allclose(statistics.text.l1, np.abs(dense_text).sum(1).mean(), rtol=1e-6)
    np.testing.assert_allclose(statistics.cross.toarray(), dense_image.T @ dense_text, rtol=1e-5)


def test_two_halves_merge_into_the_whole() -> None:
    image, text = random_codes(2, 30), random_codes(3, 30)
    (image_a, image_b), (text_a, text_b) = image.split(11), text.split(11)
    assert_same(of(image_a, text_a).merge(of(image_b, text_b)), of(image, text))


def test_many_small_updates_are_one_large_one() -> None:
    image, text = random_codes(6, 40_000), random_codes(7, 40_000)
    whole, parts = of(image, text), ConceptStatistics.zeros(ATOMS)
    for start, stop in ((0, 0), (0, 1), (1, 16_000), (16_000, 39_990), (39_990, 40_000)):
        parts.update(*(codes.split(stop)[0].split(start)[1] for codes in (image, text)))
    assert_same(parts, whole)


def test_codes_may_change_once_they_are_added() -> None:
    image, text = random_codes(8, 5), random_codes(9, 5)
    expected = image.to_dense(ATOMS).double().numpy().T @ text.to_dense(ATOMS).double().numpy()
    statistics = of(image, text)
    for codes in (image, text):
        codes.indices.zero_()
        codes.values.zero_()
    np.testing.assert_allclose(statistics.cross.toarray(), expected, rtol=1e-6)


def test_saved_statistics_load(tmp_path: Path) -> None:
    statistics = of(random_codes(4, 9), random_codes(5, 9))
    statistics.save(tmp_path / "s.safetensors")
    assert_same(ConceptStatistics.load(tmp_path / "s.safetensors"), statistics)


def from_energies(image: list[float], text: list[float], rows: tuple[int, int] = (10, 10)) -> ConceptStatistics:
    parts = []
    for energy, n in zip((image, text), rows, strict=True):
        part = ModalityStatistics.zeros(len(energy))
        part.rows, part.second = n, np.array(energy) * n
        parts.append(part)
    return ConceptStatistics(parts[0], parts[1], ConceptStatistics.zeros(len(image)).cross)


def test_classes_cover_the_dictionary_and_dead_atoms_are_no_text() -> None:
    statistics = from_energies([1, 1, 0, 0, 0.05], [0, 1, 1, 0, 0.95])
    classes = statistics.classes()
    assert classes.image_only.tolist() == [True, False, False, False, False]
    assert classes.bimodal.tolist() == [False, True, False, False, True]
    assert classes.text_only.tolist() == [False, False, True, False, False]
    assert classes.dead.tolist() == [False, False, False, True, False]
    assert np.isnan(statistics.modality_score[3])


def test_modality_score_does_not_depend_on_how_many_rows_each_modality_has() -> None:
    assert from_energies([2, 1], [2, 3], rows=(10, 1000)).modality_score.tolist() == [0.5, 0.25]


def test_energy_shares_add_up() -> None:
    statistics = from_energies([3, 1, 0], [0, 1, 1])
    classes = statistics.classes()
    shares = [statistics.energy_share(mask) for mask in (classes.bimodal, classes.image_only, classes.text_only)]
    assert shares == pytest.approx([2 / 6, 3 / 6, 1 / 6])
    assert ConceptStatistics.zeros(2).energy_share(np.array([True, True])) == 0


def test_pairs_must_pair_up() -> None:
    with pytest.raises(ValueError, match="pair up"):
        of(random_codes(0, 3), random_codes(0, 4))


def test_a_merged_matrix_leaves_the_codes_alone() -> None:
    indices = torch.tensor([[2, 0, 2]])
    codes = SparseCodes(indices, torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 1))
    assert merged_code_matrix(codes, 3).toarray().tolist() == [[2, 0, 4]]
    assert merged_code_matrix(codes, 3).nnz == 2
    assert indices.tolist() == [[2, 0, 2]]


def test_sums_of_several_files_are_read_and_merged_some_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isoenergy.statistics.concept_statistics._ENTRIES_AT_ONCE", 40)
    sets = [of(random_codes(seed, rows), random_codes(seed + 1, rows)) for seed, rows in ((10, 30), (12, 0), (14, 9))]
    files = [tmp_path / f"{number}.safetensors" for number in range(len(sets))]
    for statistics, file in zip(sets, files, strict=True):
        statistics.save(file)
    assert_same(ConceptStatistics.load_merged(files), sets[0].merge(sets[1]).merge(sets[2]))
    assert_same(ConceptStatistics.load_merged(files[1:2]), sets[1])


def test_what_is_loaded_without_cross_moments_has_all_else_and_says_what_it_lacks(tmp_path: Path) -> None:
    statistics = of(random_codes(4, 9), random_codes(5, 9))
    statistics.save(tmp_path / "s.safetensors")
    loaded = ConceptStatistics.load(tmp_path / "s.safetensors", cross=False)
    np.testing.assert_array_equal(loaded.energy, statistics.energy)
    for use in (
        lambda: loaded.cross,
        lambda: loaded.save(tmp_path / "t.safetensors"),
        lambda: loaded.merge(statistics),
    ):
        with pytest.raises(ValueError, match="cross=True"):
            use()
