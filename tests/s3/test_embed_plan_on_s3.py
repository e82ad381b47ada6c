"""Planning `isoenergy embed` over many tars in a bucket: a listing, not some requests a tar."""

import io
import tarfile
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from tests.pairs.made_up_pairs import encoded_image
from tests.s3.proxy import FaultProxy
from tests.s3.seaweedfs import S3Server
from tests.workflows.embedding_stores import SMALL_ENCODER
from workflows import embed
from workflows.embed import EmbedConfig
from workflows.extraction.extraction_engines import Here

pytestmark = pytest.mark.server


def tar(pairs: int, seed: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for number in range(pairs):
            for suffix, content in (("jpg", encoded_image("JPEG", seed=seed + number)), ("txt", b"a caption")):
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def test_going_on_with_tars_asks_for_as_much_at_any_number(s3: S3Server, proxy: FaultProxy, tmp_path: Path) -> None:
    bucket = s3.bucket()
    config = EmbedConfig(
        pairs=f"s3://{bucket}/pairs", output=str(tmp_path / "store"), encoder=SMALL_ENCODER, batch_rows=4
    )
    asked = []
    for tars in (2, 7):
        for number in range(tars):
            s3.filesystem.pipe_file(f"{bucket}/pairs/{number:05d}.tar", tar(2, seed=number))
        embed.run(config, engine=Here())
        proxy.requests.clear()
        (store,) = embed.run(config, engine=Here())
        assert len(store) == 2 * tars
        asked.append(sorted(request.method for request in proxy.requests))
    assert asked[0] == asked[1]
    moved = f"{bucket}/pairs/00001.tar"
    s3.filesystem.pipe_file(moved, s3.filesystem.cat_file(moved), ContentType="application/x-tar")
    embed.run(config, engine=Here())  # the same bytes, written again
    s3.filesystem.pipe_file(moved, tar(2, seed=99))
    with pytest.raises(InputError, match=r"1 file of .* changed, such as 00001\.tar"):
        embed.run(config, engine=Here())
