"""A hub that speaks the Hugging Face hub's API, for tests; stands alone, so that a pod can run it too.

`python hub.py PORT STORE_HOST FOLDER NAME`: the folder is the repository NAME; large files come from STORE_HOST.
"""

import hashlib
import json
import re
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)/revision/(?P<revision>.+)")
_FILE = re.compile(r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_STORE = re.compile(r"/store/(?P<name>[^/]+/[^/]+)/(?P<file>.+)")
_LARGE = 1_000
"""Bytes from which a file is served by a redirect to the store, as the real hub does with LFS files."""


def commit_of(name: str, revision: str = "main") -> str:
    """The commit that a revision of a repository stands for."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    return hashlib.sha1(f"{name}@{revision}".encode()).hexdigest()


@dataclass
class Faults:
    """What goes wrong."""

    gated: set[str] = field(default_factory=set)
    """Repositories that want accepted terms, whatever the token."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Repositories that only this token sees."""
    busy: int = 0
    """So many requests are answered with 429."""
    busy_page: str = ""
    """Of these pages alone; all pages if empty."""
    retry_after: str = "0"
    broken: int = 0
    """So many requests are answered with 503."""
    expired: int = 0
    """So many downloads from the store are refused with 403: their address ran out."""
    cut: int = 0
    """So many downloads from the store end in the middle."""
    cut_file: str = ""
    """Every download of this file ends in the middle."""
    revisions: set[str] = field(default_factory=lambda: {"main"})


class Hub:
    """The server. Use it as a context."""

    def __init__(
        self,
        folders: dict[str, Path],
        port: int = 0,
        host: str = "127.0.0.1",
        store: str = "localhost",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.folders = folders
        self.store_host = store
        """Another name of this server: the real hub redirects to another host, which is asked for no metadata."""
        self.serves_ranges = True
        """Whether it sends the beginning of a file alone to whom asks for no more."""
        self.faults = Faults()
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        """Requests by method and path, ranges included."""
        self.tokens_seen: set[str] = set()
        self.say: Callable[[str], None] = lambda _request: None
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = self._server.server_address[1]
        self.scheme = "https" if certificate else "http"
        self.endpoint = f"{self.scheme}://127.0.0.1:{self.port}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Hub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve_forever(self) -> None:
        self._server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    owner: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        note = self.headers.get("Range", "")
        self.owner.seen[f"{self.command} {path} {note}".strip()] += 1
        self.owner.say(f"{self.command} {path} {note}".strip())
        if token := self.headers.get("Authorization"):
            self.owner.tokens_seen.add(token)
        if self.owner.faults.busy_page in path and self._trip("busy"):
            return self._send(429, b"busy", {"Retry-After": self.owner.faults.retry_after})
        if self._trip("broken"):
            return self._send(503, b"broken")
        if found := _STORE.fullmatch(path):
            if self._trip("expired"):
                return self._send(403, b"the address ran out")
            return self._store(self.owner.folders[found["name"]] / found["file"])
        found = _API.fullmatch(path) or _FILE.fullmatch(path)
        if not found:
            return self._send(404, b"no such page")
        if not self._may_see(found["name"]):
            return None
        if found["revision"] not in self.owner.faults.revisions and not re.fullmatch(
            r"[0-9a-f]{40}", found["revision"]
        ):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if found.re is _API:
            return self._model(found["name"], found["revision"])
        return self._file(found["name"], found["revision"], found["file"])

    def _trip(self, fault: str) -> bool:
        with self.owner.lock:
            left = getattr(self.owner.faults, fault)
            if left > 0:
                setattr(self.owner.faults, fault, left - 1)
        return left > 0

    def _may_see(self, name: str) -> bool:
        wanted = self.owner.faults.tokens.get(name)
        if name not in self.owner.folders or (wanted and self.headers.get("Authorization") != f"Bearer {wanted}"):
            # The hub does not tell what is not there from what may not be seen.
            self._send(401, b'{"error":"Invalid username or password."}', {"X-Error-Code": "RepoNotFound"})
            return False
        if name in self.owner.faults.gated and "/resolve/" in self.path:
            message = "Access to model is restricted and you are not in the authorized list."
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return False
        return True

    def _model(self, name: str, revision: str) -> None:
        folder = self.owner.folders[name]
        siblings = []
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                size = path.stat().st_size
                lfs = {"sha256": "0" * 64, "size": size, "pointerSize": 130} if size >= _LARGE else None
                siblings.append({"rfilename": str(path.relative_to(folder)), "size": size, "lfs": lfs})
        body = {"id": name, "modelId": name, "sha": commit_of(name, revision), "private": False, "siblings": siblings}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, file: str) -> None:
        path = self.owner.folders[name] / file
        if not path.is_file():
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        size = path.stat().st_size
        etag = hashlib.sha1(f"{file} {size}".encode()).hexdigest()
        headers = {"X-Repo-Commit": commit_of(name, revision), "ETag": f'"{etag}"'}
        if size < _LARGE:
            return self._send(200, path.read_bytes(), headers)
        # The size and the ETag of the file come with the redirect.
        linked = {"X-Linked-Size": str(size), "X-Linked-ETag": f'"{etag}"'}
        location = f"{self.owner.scheme}://{self.owner.store_host}:{self.owner.port}/store/{name}/{file}"
        return self._send(302, b"", {**headers, **linked, "Location": location})

    def _store(self, path: Path) -> None:
        start = int(m[1]) if (m := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        size = path.stat().st_size
        if (m := re.fullmatch(r"bytes=0-(\d+)", self.headers.get("Range", ""))) and self.owner.serves_ranges:
            part = path.read_bytes()[: int(m[1]) + 1]
            self._send(206, part, {"Content-Range": f"bytes 0-{len(part) - 1}/{size}"})
            return
        headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        self.send_response(206 if start else 200)
        for name, value in {**headers, "Content-Length": str(size - start), "Accept-Ranges": "bytes"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self._trip("cut") or path.name == self.owner.faults.cut_file
        left = (size - start) // 2 if cut else size - start
        with path.open("rb") as file:
            file.seek(start)
            while left and (part := file.read(min(left, 1 << 20))):
                self.wfile.write(part)
                left -= len(part)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    _hub = Hub({sys.argv[4]: Path(sys.argv[3])}, int(sys.argv[1]), host="0.0.0.0", store=sys.argv[2])
    # One write for each line: requests come in threads, and print writes the end of a line by itself.
    _hub.say = lambda request: print(f"{request}\n", end="", flush=True)
    _hub.serve_forever()
