"""What the paper printed of its six encoders: the main table's rows (paper 3.4), single runs, no intervals."""

from isoenergy.encoders.loading import ALIASES

COLUMNS = ("mse", "r2", "l0", "l1", "p_acc", "rho", "fda", "delta_r1")

_ROWS = {
    "clip": (
        (0.141, 0.859, 20, 2.941, 0.847, 0.327, 2.630, -0.224),
        (0.163, 0.837, 20, 3.092, 0.915, 4.232, 4.559, -0.125),
    ),
    "clip-l": (
        (0.207, 0.793, 20, 2.986, 0.843, 1.566, 3.914, -0.039),
        (0.213, 0.787, 20, 2.996, 0.868, 4.086, 4.800, -0.021),
    ),
    "openclip": (
        (0.246, 0.754, 20, 3.155, 0.849, 4.072, 4.369, -0.037),
        (0.257, 0.742, 20, 3.164, 0.880, 16.02, 8.160, -0.018),
    ),
    "openclip-l": (
        (0.244, 0.755, 20, 3.137, 0.845, 8.737, 9.787, -0.001),
        (0.253, 0.747, 20, 3.151, 0.873, 16.58, 16.49, 0.000),
    ),
    "siglip": (
        (0.212, 0.788, 20, 2.996, 0.897, 1.370, 8.831, -0.023),
        (0.214, 0.784, 20, 2.950, 0.899, 2.182, 34.95, -0.006),
    ),
    "siglip2": (
        (0.115, 0.884, 20, 2.726, 0.886, 0.713, 8.246, -0.007),
        (0.115, 0.885, 20, 2.474, 0.903, 1.475, 18.24, 0.006),
    ),
}
"""By encoder: SAE and SAE-A, at 8 atoms a dimension and k = 20, on the LAION pairs that they were trained on."""


def published(encoder: str) -> dict[str, dict[str, float]]:
    """Return the paper's rows of an encoder, `SAE` and `SAE-A`, by column; none for one that it does not have.

    encoder: one of `isoenergy.encoders.loading.ALIASES`, or what one of them stands for.
    """
    for name, rows in _ROWS.items():
        if encoder in (name, ALIASES[name]):
            return {
                row: dict(zip(COLUMNS, values, strict=True)) for row, values in zip(("SAE", "SAE-A"), rows, strict=True)
            }
    return {}
