from pathlib import Path
from types import ModuleType

import huggingface_hub.constants
import pytest

from isoenergy.storage import hub
from tests.encoders import checkpoints


@pytest.fixture(autouse=True)
def an_empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub.snapshot.cache_clear()


@pytest.fixture(scope="session")
def open_clip() -> ModuleType:
    """The library, whose import takes seconds that a process without these tests does not spend."""
    import open_clip

    return open_clip


@pytest.fixture(scope="session")
def clip_both_ways(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of one randomly initialised CLIP, in open_clip's format and in transformers'."""
    folder = tmp_path_factory.mktemp("clip")
    checkpoints.save_clip_both_ways(folder / "open_clip", folder / "transformers", quick_gelu=True)
    return folder / "open_clip", folder / "transformers"


@pytest.fixture(scope="session")
def clip(clip_both_ways: tuple[Path, Path]) -> Path:
    return clip_both_ways[1]


@pytest.fixture(scope="session")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip")
    checkpoints.save_siglip(folder)
    return folder


@pytest.fixture(scope="session")
def siglip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siglip2")
    checkpoints.save_siglip2(folder)
    return folder
