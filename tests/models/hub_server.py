"""A hub on this computer: what huggingface_hub's protocol needs, and the faults of real ones.

Files of a repository are listed, located (HEAD) and served as the hub does it: large ones by a
redirect to a second origin, its "CDN", which honours ranges and must never see a token.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_of_someone_with_access"
LARGE = 1000
"""From this size on, in bytes, a file is kept as the hub keeps large ones: by its sha256."""


@dataclass
class Repo:
    """A repository; every revision is the same commit."""

    files: dict[str, bytes]
    commit: str = COMMIT
    revisions: tuple[str, ...] = ("main",)
    is_gated: bool = False


@dataclass
class Fault:
    """What goes wrong with the bodies of a file.

    `cut_at` and `hang_at` count from the file's start; `status` holds answers given before the
    right one; `body` is sent instead of the content; `rate` is in bytes a second.
    """

    cut_at: list[int] = field(default_factory=list)
    hang_at: int | None = None
    status: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    rate: float | None = None
    ignores_ranges: bool = False


@dataclass
class Request:
    method: str
    host: str
    path: str
    token: str
    range: str
    served: int = 0


class HubServer:
    """The hub, at `url`, and its CDN, each on a port and in threads of its own."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[str, Fault] = {}
        self.listing_fault = Fault()
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._servers = [self._serve(), self._serve()]
        ports = [server.server_port for server in self._servers]
        # Hosts of two names: some versions of huggingface_hub do not look at the port.
        self.url, self.cdn = f"http://127.0.0.1:{ports[0]}", f"http://localhost:{ports[1]}"

    def _serve(self) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.hub = self
        # shutdown() waits for a look that serve_forever takes every `poll_interval` seconds.
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def served(self, name: str) -> int:
        """Count the bytes sent of a file's body, all requests together."""
        return sum(r.served for r in self.requests if r.path.endswith(name))

    def close(self) -> None:
        self.released.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        # A client that leaves is what some tests are about; nobody wants its traceback.
        with suppress(ConnectionError):
            super().handle()

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub: HubServer = self.server.hub
        # As a proxy we are asked for whole addresses, whose host may not exist at all.
        address = urlsplit(self.path)
        path = unquote(address.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.request_ = Request(
            self.command, address.netloc, path, token, self.headers.get("Range", "")
        )
        self.hub.requests.append(self.request_)
        if path.startswith("/cdn/"):
            _, _, owner, name, _, file = path.split("/", 5)
            self._send_file(self.hub.repos[f"{owner}/{name}"].files[file], file)
        elif path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
        else:
            self._resolve(path.lstrip("/"))

    def _list(self, path: str) -> None:
        if self._send_fault(self.hub.listing_fault):
            return
        repo_id, _, revision = path.partition("/revision/")
        repo = self._repo(repo_id, revision or "main", is_listing=True)
        if repo is None:
            return
        siblings = []
        for name, content in repo.files.items():
            row = {"rfilename": name, "size": len(content), "blobId": git_sha1(content)}
            if len(content) >= LARGE:
                row["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(row)
        gated = "manual" if repo.is_gated else False
        body = {"id": repo_id, "sha": repo.commit, "gated": gated, "siblings": siblings}
        self._send(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _resolve(self, path: str) -> None:
        repo_id, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        repo = self._repo(repo_id, revision)
        if repo is None:
            return
        headers = {"X-Repo-Commit": repo.commit}
        if file not in repo.files:
            self._refuse(404, "EntryNotFound", "Entry not found", headers)
            return
        content = repo.files[file]
        if len(content) < LARGE:
            headers["ETag"] = f'"{git_sha1(content)}"'
            self._send_file(content, file, headers)
            return
        headers |= {
            "X-Linked-Etag": f'"{sha256(content)}"',
            "X-Linked-Size": str(len(content)),
            "ETag": '"of the redirect"',
            "Location": f"{self.hub.cdn}/cdn/{repo_id}/{repo.commit}/{file}",
        }
        self._send(302, headers, b"Found")

    def _repo(self, repo_id: str, revision: str, is_listing: bool = False) -> Repo | None:
        repo = self.hub.repos.get(repo_id)
        token = self.request_.token
        if token and token != TOKEN:
            message = "Invalid credentials in Authorization header"
            self._refuse(401, "", message)
        elif repo is None:
            # A stranger is not told whether it exists.
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif revision not in (*repo.revisions, repo.commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif repo.is_gated and not is_listing:
            # This token's account is not on the list of those who may.
            self._refuse(403 if token else 401, "GatedRepo", "Access to model is restricted")
        else:
            return repo
        return None

    def _send_file(self, content: bytes, name: str, headers: dict[str, str] | None = None) -> None:
        fault = self.hub.faults.get(name, Fault())
        if self.command == "GET" and self._send_fault(fault):
            return
        body = content if fault.body is None else fault.body
        headers = dict(headers or {})
        start = 0
        if self.request_.range and not fault.ignores_ranges:
            start = int(self.request_.range.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._send_headers(206 if "Content-Range" in headers else 200, headers, len(body) - start)
        if self.command == "HEAD":
            return
        end = len(body)
        if fault.cut_at:
            end = fault.cut_at.pop(0)
            self.close_connection = True
        step = 2**16 if fault.rate is None else max(1, int(fault.rate / 20))
        while start < end:
            if fault.hang_at is not None and start >= fault.hang_at:
                self.hub.released.wait(60)
                self.close_connection = True
                return
            stop = min(start + step, end if fault.hang_at is None else max(fault.hang_at, start))
            self.wfile.write(body[start:stop])
            self.request_.served += stop - start
            start = stop
            if fault.rate is not None:
                time.sleep(step / fault.rate)

    def _send_fault(self, fault: Fault) -> bool:
        if not fault.status:
            return False
        self._send(fault.status.pop(0), fault.headers, b"not now")
        return True

    def _refuse(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._send(status, {**(headers or {}), **named, "X-Error-Message": message}, b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._send_headers(status, headers, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_headers(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
