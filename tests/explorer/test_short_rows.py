from pathlib import Path

import torch

from isoenergy.explorer.short_rows import ShortRows


def test_products_are_those_of_the_rows_to_four_digits(tmp_path: Path):
    rows = torch.nn.functional.normalize(torch.randn(5000, 37, generator=torch.Generator().manual_seed(0)), dim=1)
    rows[7] = 0
    queries = rows[:3] * 2
    ShortRows.of(rows).save(tmp_path, "x")
    short = ShortRows.load(tmp_path, "x")
    torch.testing.assert_close(short.products(queries), queries @ rows.T, atol=5e-5, rtol=0)
    torch.testing.assert_close(short.floats(slice(5, 9)), rows[5:9], atol=1e-5, rtol=0)
    torch.testing.assert_close(short.floats(6), rows[6], atol=1e-5, rtol=0)
    half = (rows.half().float() - rows).abs().max()
    assert (short.floats(slice(None)) - rows).abs().max() < half / 4, "nearer than half precision"
