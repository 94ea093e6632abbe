"""Web server of a dictionary of files, which fails when told to."""

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

Fault = Literal["500", "cut", "403"]


class WebServer:
    """Running server.

    Attributes:
        files: content by path, without a leading slash.
        faults: what goes wrong with the next requests for a path; the last entry stays if it is repeated for ever.
        requests: number of requests for the content of each path.
        ranges: whether parts of files are sent.
        etags: version of each path; none is sent for others.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.requests: Counter[str] = Counter()
        self.ranges = True
        self.etags: dict[str, str] = {}
        self.address = ""


def _handler(server: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/")
            server.requests[name] += with_body
            fault = server.faults[name].pop(0) if server.faults[name] else None
            if fault in ("500", "403") or name not in server.files:
                self.send_response(int(fault) if fault in ("500", "403") else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content, status = server.files[name], 200
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            size = len(content)
            if wanted and server.ranges:
                start, last = int(wanted[1]), int(wanted[2] or size - 1)
                content, status = content[start : last + 1], 206
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if name in server.etags:
                self.send_header("ETag", server.etags[name])
            if status == 206:
                self.send_header("Content-Range", f"bytes {start}-{start + len(content) - 1}/{size}")
            self.end_headers()
            if with_body:
                self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
                if fault == "cut":
                    self.wfile.flush()
                    self.close_connection = True

    return Handler


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Run a server on a free port of this machine, as a context."""
    server = WebServer()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    listener.daemon_threads = True
    server.address = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
