"""Checkpoints of a few bytes, which say of which step they are."""

import math
from pathlib import Path

from isoenergy.training.checkpoints import CheckpointFolder

FILES = {"trainer.json": b"{}", "beta-0/sae.safetensors": bytes(1000), "beta-0/config.json": b""}


def content(step: int) -> dict[str, bytes]:
    return {name: data + str(step).encode() for name, data in FILES.items()}


def put(checkpoints: CheckpointFolder, tmp_path: Path, step: int, score: float = math.nan) -> None:
    folder = tmp_path / f"made-{step}"
    for name, data in content(step).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    checkpoints.put(step, folder, score, run="some-run")


def restored(checkpoints: CheckpointFolder, tmp_path: Path) -> int | None:
    """The step of what is restored, which must be whole and nothing else."""
    folder = tmp_path / "restored"
    folder.mkdir()
    record = checkpoints.restore(folder)
    found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found == ({} if record is None else content(record.step))
    for file in sorted(folder.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    folder.rmdir()
    return None if record is None else record.step
