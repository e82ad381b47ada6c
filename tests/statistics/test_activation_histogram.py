import numpy as np
import torch

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.activation_histogram import BINS, BINS_AN_OCTAVE, LEAST_OCTAVE, ActivationHistogram


def codes(*rows: list[tuple[int, float]]) -> SparseCodes:
    indices, values = ([[entry[place] for entry in row] for row in rows] for place in (0, 1))
    return SparseCodes(torch.tensor(indices, dtype=torch.int32), torch.tensor(values), torch.zeros(len(rows), 1))


def edges() -> np.ndarray:
    return 2.0 ** (LEAST_OCTAVE + np.arange(BINS + 1) / BINS_AN_OCTAVE)


def test_each_firing_is_counted_in_its_bin() -> None:
    generator = np.random.default_rng(0)
    values = np.exp(generator.normal(-1, 1, 500)).astype(np.float32)
    histogram = ActivationHistogram.zeros(3)
    histogram.update(codes(*[[(1, float(value)), (2, 0.0)] for value in values]), codes([(0, -0.3), (0, -0.2)]))
    np.testing.assert_array_equal(histogram.image[1], np.histogram(values, edges())[0])
    assert histogram.image[[0, 2]].sum() == 0
    assert np.flatnonzero(histogram.text[0]).tolist() == [np.searchsorted(edges(), 0.5)]  # a repeated atom's sum
    assert histogram.text.sum() == 1


def test_what_is_beyond_the_bins_is_in_the_last_ones() -> None:
    histogram = ActivationHistogram.zeros(1)
    histogram.update(codes([(0, 1e-9)], [(0, 1e9)]), codes([(0, 1.0)]))
    assert histogram.image[0, [0, -1]].tolist() == [1, 1]


def test_halves_merge_into_the_whole() -> None:
    first, second = codes([(0, 0.5)], [(1, 0.25)]), codes([(1, 0.25)], [(1, 0.1)])
    merged, whole = (ActivationHistogram.zeros(2) for _ in range(2))
    merged.update(first, second)
    other = ActivationHistogram.zeros(2)
    other.update(second, first)
    for part in ((first, second), (second, first)):
        whole.update(*part)
    np.testing.assert_array_equal(merged.merge(other).image, whole.image)
    np.testing.assert_array_equal(merged.merge(other).text, whole.text)
