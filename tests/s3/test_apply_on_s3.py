"""`isoenergy apply` from a store in a bucket to a bucket, through faults and an end in the middle: the same rows."""

from pathlib import Path

import numpy as np
import pytest

from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore
from tests.s3.proxy import Fault, FaultProxy, share
from tests.s3.seaweedfs import S3Server
from tests.workflows.applied_stores import ROWS, UNITS, Ends, fill_store, write_sae
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere
from workflows.settings.apply_settings import ApplyConfig

pytestmark = pytest.mark.server
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.TORN, Fault.RESET]


def test_a_run_that_ends_in_the_middle_goes_on_through_faults(s3: S3Server, proxy: FaultProxy, tmp_path: Path) -> None:
    store, sae = fill_store(tmp_path / "store"), write_sae(tmp_path / "sae")
    options = {"write": "codes,bimodal", "layouts": "npy,csr"}
    here = apply.run(ApplyConfig(str(sae), store.uri, str(tmp_path / "out"), **options), engine=ApplyingHere())

    place = f"s3://{s3.bucket()}"
    filesystem, root = open_filesystem(place)
    for name in ("store", "sae"):
        filesystem.put(str(tmp_path / name), f"{root}/{name}", recursive=True)
    config = ApplyConfig(f"{place}/sae", f"{place}/store", f"{place}/out", **options)
    proxy.rule = share(0.05, *PASSING)
    with pytest.raises(KeyboardInterrupt):
        apply.run(config, engine=Ends(after=2))
    assert len(filesystem.glob(f"{root}/out/shards/*.parquet")) == 2
    made = apply.run(config, engine=ApplyingHere())
    assert sum(proxy.done[fault] for fault in PASSING) > 0
    proxy.begin_anew()

    assert (len(made), made.rejected) == (UNITS * ROWS, {})
    assert [record.shard_sha256 for record in made.commits] == [record.shard_sha256 for record in here.commits]
    written = {Path(file).relative_to(tmp_path / "out") for file in (tmp_path / "out").rglob("*_[0-9].*")}
    there = {Path(file.removeprefix(f"{root}/out/")) for file in filesystem.find(f"{root}/out")}
    assert written - there == set()
    assert len(written) == UNITS * (2 + 1 + 2)
    for file in ("npy/bimodal/img_emb/img_emb_4.npy", "npy/bimodal/text_emb/text_emb_0.npy"):
        with filesystem.open(f"{root}/out/{file}") as stream:
            np.testing.assert_array_equal(np.load(stream), np.load(tmp_path / "out" / file))
    assert EmbeddingStore.open(config.output).fingerprint == made.fingerprint
