"""The folder that Ray's libraries are lent."""

from pathlib import Path

import pytest

from workflows.cluster.ray_storage import ray_storage


def filled(folder: Path) -> None:
    folder.mkdir()
    (folder / "experiment.json").write_text("{}")


@pytest.mark.parametrize("error", [None, ValueError])
def test_it_is_removed_whatever_happens(error: type[Exception] | None, tmp_path: Path) -> None:
    try:
        with ray_storage(str(tmp_path / ".ray")) as (_, root):
            filled(Path(root))
            if error is not None:
                raise error
    except ValueError:
        pass
    assert not list(tmp_path.iterdir())
    with ray_storage(str(tmp_path / ".ray")):
        """Nothing is there to be removed."""


def stopped(uri: str) -> None:
    with ray_storage(uri) as (_, root):
        filled(Path(root))
        raise KeyboardInterrupt


def test_a_process_that_is_told_to_stop_asks_no_storage(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped(str(tmp_path / ".ray"))
    assert (tmp_path / ".ray" / "experiment.json").exists()
    with ray_storage(str(tmp_path / ".ray")):
        """The next run."""
    assert not list(tmp_path.iterdir())
