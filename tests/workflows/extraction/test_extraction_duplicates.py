"""Keys that stand twice in a source, found here and on Ray."""

from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.source import PairSource, SourceConfig
from tests.pairs.made_up_pairs import encoded_image, written_rows
from workflows.extraction import extraction_duplicates
from workflows.extraction.extraction_duplicates import duplicate_rows


@pytest.fixture
def many_pairs(on_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Have four pairs be more than the driver looks at itself."""
    monkeypatch.setattr(extraction_duplicates, "_PAIRS_OF_THE_DRIVER", 3)


@pytest.fixture
def source(tmp_path: Path) -> PairSource:
    """Four pairs in two files, of which `a` stands in both."""
    for file, keys in {"0": "ab", "1": "ca"}.items():
        rows = [{"key": key, "image": encoded_image(), "caption": key} for key in keys]
        written_rows(rows, tmp_path / f"{file}.parquet")
    return open_source(SourceConfig(str(tmp_path)), fetch=None)


class TestHere:
    def test_the_first_in_the_order_of_the_files_stays(self, source: PairSource) -> None:
        for files, again in ((source.files, {"1.parquet": [1]}), (source.files[::-1], {"0.parquet": [0]})):
            assert duplicate_rows(source, source.units(10), files, [], []) == again

    def test_a_file_whose_keys_cannot_be_read_is_named(self, source: PairSource, tmp_path: Path) -> None:
        units = source.units(10)
        (tmp_path / "1.parquet").unlink()
        with pytest.raises(InputError, match=r"the keys of 1\.parquet cannot be read"):
            duplicate_rows(source, units, source.files, [], [])


@pytest.mark.ray
@pytest.mark.usefixtures("many_pairs")
class TestOnRay(TestHere):
    """The same, found by tasks."""
