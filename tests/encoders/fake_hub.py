"""A model hub on this machine that answers what the real one is asked."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

_DATE = "2026-01-01T00:00:00.000Z"


@dataclass
class Hub:
    """`models`: folders by model, then by revision; `proposals`: author and revision by model."""

    models: Mapping[str, Mapping[str, Path]]
    proposals: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for model, revisions in self.models.items():
            commits = {revision: hashlib.sha1(revision.encode()).hexdigest() for revision in revisions}
            for revision, folder in revisions.items():
                for name in (revision.replace("/", "%2F"), commits[revision]):
                    if path == f"/api/models/{model}/revision/{name}":
                        files = [{"rfilename": file.name} for file in folder.iterdir()]
                        return _json({"id": model, "sha": commits[revision], "siblings": files, "private": False})
                    if path == f"/api/models/{model}/tree/{name}":
                        return _json([_entry(file) for file in folder.iterdir()])
                    file = folder / path.removeprefix(f"/{model}/resolve/{name}/")
                    if path.startswith(f"/{model}/resolve/{name}/") and file.is_file():
                        data = file.read_bytes()
                        headers = {"ETag": f'"{_entry(file)["oid"]}"', "X-Repo-Commit": commits[revision]}
                        return 200, headers, data
            if path == f"/api/models/{model}/discussions":
                return _json(_proposals(*self.proposals[model]) if model in self.proposals else _NO_PROPOSALS)
        return 404, {"X-Error-Code": "RepoNotFound"}, b""


_NO_PROPOSALS: dict = {"discussions": [], "count": 0, "start": 0}


def _proposals(author: str, revision: str) -> dict:
    proposal = {
        "title": "Adding `safetensors` variant of this model",
        "num": int(revision.rpartition("/")[2]),
        "author": {"name": author},
        "isPullRequest": True,
        "status": "open",
        "createdAt": _DATE,
        "repo": {"name": "any", "type": "model"},
    }
    return {"discussions": [proposal], "count": 1, "start": 0}


def _entry(file: Path) -> dict:
    oid = hashlib.sha1(file.read_bytes()).hexdigest()
    return {"type": "file", "oid": oid, "size": file.stat().st_size, "path": file.name}


def _json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def at_this_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve `hub` and make it the one that huggingface_hub asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(urlsplit(self.path).path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", endpoint)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
