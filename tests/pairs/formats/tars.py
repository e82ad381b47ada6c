"""Tars of given members."""

import io
import tarfile

Members = list[tuple[str, bytes | tarfile.TarInfo]]


def tar_of(members: Members) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", errors="surrogateescape") as tar:
        for name, content in members:
            if isinstance(content, bytes):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                content.name = name
                tar.addfile(content)
    return sink.getvalue()
