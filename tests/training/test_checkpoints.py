import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.training import checkpoints as checkpoints_module
from isoenergy.training.checkpoints import CheckpointFolder
from tests.training.made_up_checkpoints import FILES, put, restored


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Whole checkpoints of steps 4 and 8."""
    for step in (4, 8):
        put(CheckpointFolder(str(tmp_path / "run" / "checkpoints")), tmp_path, step)
    return tmp_path / "run" / "checkpoints"


def test_the_newest_is_restored_with_its_record(place: Path, tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(str(place))
    assert restored(checkpoints, tmp_path) == 8
    last = checkpoints.records()[-1]
    assert (last.step, last.run, set(last.files)) == (8, "some-run", set(FILES))
    assert math.isnan(last.score)


def test_before_any_there_is_none(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(str(tmp_path / "nowhere"))
    assert restored(checkpoints, tmp_path) is None
    assert checkpoints.records() == []
    checkpoints.remove_all()
    assert not (tmp_path / "nowhere").exists()


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", [*FILES, "complete.json"])
@pytest.mark.parametrize("damage", [torn, flipped, Path.unlink, lambda file: file.write_bytes(b"")])
def test_a_damaged_one_is_passed_over(place: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(place / "step-00000008" / name)
    assert restored(CheckpointFolder(str(place)), tmp_path) == 4
    damage(place / "step-00000004" / name)
    assert restored(CheckpointFolder(str(place)), tmp_path) is None


def test_every_flipped_bit_of_a_record_is_survived(place: Path, tmp_path: Path) -> None:
    file = place / "step-00000008" / "complete.json"
    whole = file.read_bytes()
    steps = []
    for number in range(0, len(whole), 3):
        file.write_bytes(whole[:number] + bytes([whole[number] ^ 1]) + whole[number + 1 :])
        steps.append(restored(CheckpointFolder(str(place)), tmp_path))
    assert set(steps) <= {4, 8}
    assert 4 in steps


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../../../outside": "0"}},
        {"files": {"/etc/hostname": "0"}},
        {"files": {"beta-0/../../outside": "0"}},
        {"files": {".": "0"}},
        {"files": {"beta-0": "0"}},
        {"files": {"trainer.json/x": "0"}},
        {"files": ["trainer.json"]},
        {"files": {"trainer.json": None}},
        {"step": 4},
        {"step": "8"},
        {"score": "high"},
        {"score": None},
        {"more": 1},
    ],
    ids=str,
)
def test_a_hostile_record_is_passed_over(place: Path, tmp_path: Path, changes: dict) -> None:
    (place.parent.parent / "outside").write_bytes(b"outside")
    file = place / "step-00000008" / "complete.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert restored(CheckpointFolder(str(place)), tmp_path) == 4
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    put(CheckpointFolder(str(place)), tmp_path, 12, score=0.5)
    assert restored(CheckpointFolder(str(place)), tmp_path) == 12


def test_what_else_lies_there_is_left_alone(place: Path, tmp_path: Path) -> None:
    (place / "step-00000009").write_text("a file")
    (place / "step-²").mkdir()
    (place / "notes").mkdir()
    checkpoints = CheckpointFolder(str(place))
    assert restored(checkpoints, tmp_path) == 8
    put(checkpoints, tmp_path, 12)
    assert (place / "notes").is_dir()
    assert [record.step for record in checkpoints.records()] == [8, 12]


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(str(tmp_path / "c"), keep=2)
    scores = {1: 0.1, 2: 0.9, 3: math.nan, 4: 0.9, 5: 0.2, 6: math.nan, 7: -1.0}
    kept = []
    for step, score in scores.items():
        put(checkpoints, tmp_path, step, score)
        kept.append([record.step for record in checkpoints.records()])
        assert len(list((tmp_path / "c").iterdir())) == len(kept[-1])
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [4, 5, 6], [4, 6, 7]]
    checkpoints.remove_all()
    assert not list((tmp_path / "c").iterdir())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("write", range(len(FILES) + 1))
def test_a_kill_while_one_is_written_leaves_the_older_one(
    place: Path, tmp_path: Path, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    whole = checkpoints_module.write_atomically

    def interrupted(filesystem, path, data):
        if len(written) == write:
            raise Killed
        written.append(path)
        whole(filesystem, path, data)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints_module, "write_atomically", interrupted)
        with pytest.raises(Killed):
            put(CheckpointFolder(str(place)), tmp_path, 12)
    assert restored(CheckpointFolder(str(place)), tmp_path) == 8
    put(CheckpointFolder(str(place)), tmp_path, 16)
    assert sorted(path.name for path in place.iterdir()) == ["step-00000008", "step-00000016"]


def test_a_torn_one_of_the_same_step_is_replaced(place: Path, tmp_path: Path) -> None:
    (place / "step-00000012").mkdir()
    (place / "step-00000012" / "left-over").write_text("")
    put(CheckpointFolder(str(place)), tmp_path, 12)
    assert restored(CheckpointFolder(str(place)), tmp_path) == 12
    assert not (place / "step-00000012" / "left-over").exists()


def test_a_full_disk_is_said_and_the_older_ones_stay(place: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints_module, "write_atomically", full)
        with pytest.raises(InputError, match=r"cannot be written .*No space left"):
            put(CheckpointFolder(str(place)), tmp_path, 12)
    assert restored(CheckpointFolder(str(place)), tmp_path) == 8
