"""Small runs of `isoenergy embed`, and what is looked at in their stores."""

from pathlib import Path

from isoenergy.store import EmbeddingStore

ENCODER, SMALL_ENCODER = "python:tests.workflows.pixel_encoder", "python:tests.workflows.small_pixel_encoder"


def settings_of(folder: Path) -> dict:
    """From `pairs` to `store`, both below `folder`."""
    return {
        "output": str(folder / "store"),
        "pairs": str(folder / "pairs"),
        "encoder": ENCODER,
        "rows_per_unit": 50,
        "batch_rows": 20,
    }


def keys(store: EmbeddingStore) -> list[str]:
    return sorted(store.to_arrays().keys.tolist())


def keys_of(rows: list[dict]) -> list[str]:
    return sorted(row["key"] for row in rows)


def times(store: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(store).glob("*/*")}
