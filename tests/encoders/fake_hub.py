"""A model hub on this machine that answers what the real one is asked."""

import base64
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
import yaml
from huggingface_hub import constants

from isoenergy.storage import hub

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens of one who may write to `lab`, and of one who may not."""
_DATE = "2026-01-01T00:00:00.000Z"
_LFS = "application/vnd.git-lfs+json"

Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Account:
    """Whose token it is: the names under which it may write."""

    namespaces: tuple[str, ...] = ()


@dataclass
class Hub:
    """`models`: folders by model, then by revision; `proposals`: author and revision by model.

    What is uploaded goes to new folders in `uploads`, and into `models`.
    """

    models: Mapping[str, Mapping[str, Path]]
    proposals: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    uploads: Path | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    large: bool = False
    """Whether files are asked for by git's large file protocol."""
    broken: int = 0
    """Status with which every commit is refused, if any."""
    commits: list[tuple[str, list[str]]] = field(default_factory=list)
    """Model and files of each commit."""
    said: list[str] = field(default_factory=list)
    """Method and path of each request."""
    _objects: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, token: str | None) -> Answer:
        for model, revisions in self.models.items():
            if f"/{model}/" not in path:
                continue
            if model in self.private and token not in self.accounts:
                return 401, {"X-Error-Code": "RepoNotFound"}, b""
            commits = {revision: _commit(revision, folder) for revision, folder in revisions.items()}
            for revision, folder in revisions.items():
                for name in (revision.replace("/", "%2F"), commits[revision]):
                    if path == f"/api/models/{model}/revision/{name}":
                        files = [{"rfilename": file.name} for file in folder.iterdir()]
                        private = model in self.private
                        return _json({"id": model, "sha": commits[revision], "siblings": files, "private": private})
                    if path == f"/api/models/{model}/tree/{name}":
                        return _json([_entry(file) for file in folder.iterdir()])
                    file = folder / path.removeprefix(f"/{model}/resolve/{name}/")
                    if path.startswith(f"/{model}/resolve/{name}/") and file.is_file():
                        data = file.read_bytes()
                        headers = {"ETag": f'"{_entry(file)["oid"]}"', "X-Repo-Commit": commits[revision]}
                        return 200, headers, data
            if path == f"/api/models/{model}/discussions":
                return _json(_proposals(*self.proposals[model]) if model in self.proposals else _NO_PROPOSALS)
        if path.startswith("/api/models/") and path.count("/") == 4:  # without a revision: the main one's
            return self.answer(f"{path}/revision/main", token)
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def take(self, path: str, token: str | None, body: bytes) -> Answer:
        """Answer a POST or PUT; who may write is asked first, as the real hub does."""
        account = self.accounts.get(token or "")
        if path.startswith("/objects/"):
            self._objects[path.removeprefix("/objects/")] = body
            return _json({})
        if account is None:
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}"
        if path == "/api/validate-yaml":
            return _validated(json.loads(body)["content"])
        if path == "/api/repos/create":
            return self._create(account, json.loads(body))
        model = path.removeprefix("/api/models/").removesuffix(".git/info/lfs/objects/batch").strip("/")
        model = "/".join(model.split("/")[:2])
        if model not in self.models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if model.split("/")[0] not in account.namespaces:
            return 403, {"X-Error-Message": "Forbidden: you must use a write token to upload to a repository"}, b"{}"
        if path == f"/api/models/{model}/preupload/main":
            mode = "lfs" if self.large else "regular"
            files = [{"path": f["path"], "uploadMode": mode, "shouldIgnore": False} for f in json.loads(body)["files"]]
            return _json({"files": files})
        if path == f"/{model}.git/info/lfs/objects/batch":
            return self._batch(json.loads(body)["objects"])
        if path == f"/api/models/{model}/commit/main":
            return self._commit(model, [json.loads(line) for line in body.splitlines()])
        return 404, {"X-Error-Code": "EntryNotFound"}, b""

    def _create(self, account: Account, wanted: dict) -> Answer:
        model = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] not in account.namespaces:
            message = f'You don\'t have the rights to create a model under the namespace "{wanted["organization"]}"'
            return 403, {"X-Error-Message": message}, b"{}"
        url = {"url": f"{constants.ENDPOINT}/{model}"}
        if model in self.models:
            return 409, {"X-Error-Message": "You already created this model repo"}, json.dumps(url).encode()
        folder = self.uploads / model
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        self.models = {**self.models, model: {"main": folder}}
        if wanted.get("visibility") == "private":
            self.private.add(model)
        return _json(url)

    def _batch(self, objects: list[dict]) -> Answer:
        for each in objects:
            each["actions"] = {"upload": {"href": f"{constants.ENDPOINT}/objects/{each['oid']}"}}
        status, _, body = _json({"transfer": "basic", "objects": objects})
        return status, {"Content-Type": _LFS}, body

    def _commit(self, model: str, lines: list[dict]) -> Answer:
        if self.broken:
            return self.broken, {}, b"{}"
        folder, files = self.models[model]["main"], [line["value"] for line in lines[1:]]
        for file, line in zip(files, lines[1:], strict=True):
            data = self._objects[file["oid"]] if line["key"] == "lfsFile" else base64.b64decode(file["content"])
            (folder / file["path"]).write_bytes(data)
        self.commits.append((model, sorted(file["path"] for file in files)))
        oid = _commit("main", folder)
        return _json({"success": True, "commitOid": oid, "commitUrl": f"{constants.ENDPOINT}/{model}/commit/{oid}"})


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


def _validated(card: str) -> Answer:
    try:
        front = yaml.safe_load(card.split("---\n")[1])
        assert isinstance(front, dict)
    except (yaml.YAMLError, IndexError, AssertionError) as error:
        return 400, {}, json.dumps({"errors": [{"message": f"not YAML: {error}"}]}).encode()
    return _json({"errors": [], "warnings": []})


def _commit(revision: str, folder: Path) -> str:
    digest = hashlib.sha1(revision.encode())
    for file in sorted(folder.iterdir()):
        digest.update(json.dumps(_entry(file)).encode())
    return digest.hexdigest()


def _entry(file: Path) -> dict:
    oid = hashlib.sha1(file.read_bytes()).hexdigest()
    return {"type": "file", "oid": oid, "size": file.stat().st_size, "path": file.name}


def _json(value: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def at_this_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve `hub` and make it the one that huggingface_hub asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(hub.answer(urlsplit(self.path).path, self._token))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._send(hub.take(urlsplit(self.path).path, self._token, body))

        do_HEAD = do_GET
        do_PUT = do_POST

        @property
        def _token(self) -> str | None:
            return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

        def _send(self, answer: Answer) -> None:
            hub.said.append(f"{self.command} {self.path}")
            status, headers, body = answer
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

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


@contextmanager
def hub_of_a_lab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub where the token at hand may write to `lab`, and with a cache that is empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub.snapshot.cache_clear()
    served = Hub({}, uploads=folder / "uploads", accounts={WRITER: Account(("lab",)), READER: Account()})
    with at_this_hub(served, monkeypatch):
        yield served
    hub.snapshot.cache_clear()
