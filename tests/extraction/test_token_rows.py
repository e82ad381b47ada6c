import numpy as np
import pyarrow as pa

from isoenergy.extraction.token_rows import TokenRows, are_finite, coupled, lists, row_a_token


def tokens(*pairs: list[float]) -> TokenRows:
    """Rows of one number, of each pair."""
    values = np.array([number for pair in pairs for number in pair], np.float32)[:, None]
    return TokenRows(values, np.array([len(pair) for pair in pairs], np.int64))


def test_each_token_is_there_and_the_fewer_go_round() -> None:
    images, texts = coupled(tokens([1, 2, 3, 4, 5], [6]), tokens([10, 20], [30, 40, 50]))
    assert images.counts.tolist() == texts.counts.tolist() == [5, 3]
    assert images.values.ravel().tolist() == [1, 2, 3, 4, 5, 6, 6, 6]
    assert texts.values.ravel().tolist() == [10, 20, 10, 20, 10, 30, 40, 50]


def test_a_pair_is_finite_if_all_its_tokens_are() -> None:
    assert are_finite(tokens([1, 2], [3], [np.inf, 4], [5])).tolist() == [True, True, False, True]
    assert are_finite(tokens()).tolist() == []


def test_a_row_a_token_repeats_what_is_the_pair_s() -> None:
    column = lists(tokens([1, 2, 3], [4], [5, 6]), np.array([2, -1, 0]))
    assert column.to_pylist() == [[[5], [6]], None, [[1], [2], [3]]]
    shard = pa.table(
        {"key": ["a#0", "b"], "image": column.take([0, 2]), "text": column.take([0, 2]), "url": ["x", "y"]}
    )
    rows = row_a_token(shard)
    assert rows["key"].to_pylist() == ["a#0#0", "a#0#1", "b#0", "b#1", "b#2"]
    assert rows["url"].to_pylist() == ["x", "x", "y", "y", "y"]
    assert rows["text"].to_pylist() == [[5], [6], [1], [2], [3]]
    assert row_a_token(shard.slice(0, 0)).num_rows == 0
