"""A server on this machine that stands for a publisher's, and for the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TREE = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)/tree/(?P<commit>[0-9a-f]{40})")
_RESOLVE = re.compile(r"/[^/]+/[^/]+/resolve/(?P<commit>[0-9a-f]{40})/(?P<name>[^?]+)")


class Hub(ThreadingHTTPServer):
    """Files by path, and what was asked of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.breaks_off: dict[str, list[int]] = {}
        """By path, after how many bytes each of the next answers ends."""
        self.asked: list[tuple[str, str | None]] = []
        """Paths of files, and the range of each."""
        self.authorization: list[str | None] = []
        self.pause_s = 0.0
        """Before each answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self._head(200, content, len(content))

    def do_GET(self) -> None:
        tree = _TREE.match(self.path)
        if tree:
            self._tree(tree["repository"], tree["commit"])
            return
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        self.server.authorization.append(self.headers.get("Authorization"))
        time.sleep(self.server.pause_s)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self._head(206 if start else 200, content, len(content) - start)
        cuts = self.server.breaks_off.get(self.path) or [len(content)]
        self.wfile.write(content[start : start + cuts.pop(0)])
        self.close_connection = True

    def _head(self, status: int, content: bytes, n_bytes: int) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(n_bytes))
        found = _RESOLVE.match(self.path)
        if found:
            self.send_header("X-Repo-Commit", found["commit"])
        self.end_headers()

    def _tree(self, repository: str, commit: str) -> None:
        start = f"/{repository}/resolve/{commit}/"
        entries = [
            {"type": "file", "path": path.removeprefix(start), "size": len(content), "oid": "0"}
            for path, content in self.server.files.items()
            if path.startswith(start)
        ]
        if not entries:
            self.send_error(404)
            return
        answer = json.dumps(entries).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Hub]:
    """Lend a server."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
