"""Embeddings of others on S3: read by ranges, and copied into a store there."""

from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from tests.s3.seaweedfs import S3Server
from tests.store.given_vectors import write_clip_retrieval
from workflows.training.vector_stores import VectorCopy

pytestmark = pytest.mark.server


def test_clip_retrievals_folders_are_imported_from_s3_to_s3(s3: S3Server, tmp_path: Path) -> None:
    folder, place = write_clip_retrieval(tmp_path / "theirs", [9000, 40]), f"s3://{s3.bucket()}"
    filesystem, root = open_filesystem(f"{place}/theirs")
    filesystem.put(str(folder), root, recursive=True)
    assert holds_vectors(f"{place}/theirs")
    there = VectorCopy(open_vectors(f"{place}/theirs"), f"{place}/store").run()
    here = VectorCopy(open_vectors(str(folder)), str(tmp_path / "store")).run()
    assert (len(there), there.fingerprint) == (9040, here.fingerprint)
    assert VectorCopy(open_vectors(f"{place}/theirs"), f"{place}/store").is_done
    view = VectorCopy(open_vectors(f"{place}/theirs").viewed(), f"{place}/view").run()
    for record in here.commits:
        assert view.read_unit(record.unit).replace_schema_metadata() == here.read_unit(record.unit)
    filesystem.put(str(folder / "img_emb/img_emb_1.npy"), f"{root}/text_emb/text_emb_1.npy")
    with pytest.raises(InputError, match=r"s3://.*text_emb_1\.npy has changed"):
        view.to_arrays()
