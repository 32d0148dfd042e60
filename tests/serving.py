"""Servers on this machine that give stores by URL: a web server with faults on request, real S3 servers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class Fault:
    """What is done instead of an answer."""

    does: Callable[["Handler"], None]
    where: str = ""
    """Only to objects whose name holds this."""
    times: int = -1
    """Only so often; -1: always."""


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the files below a folder, parts of them if the site gives those."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    site: "Site"

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        fault = self.site.heard(path)
        if fault is not None:
            fault.does(self)
        else:
            self.gives()

    def gives(self) -> None:
        """Send the file that was asked for."""
        file = self.site.folder / unquote(self.path.partition("?")[0]).lstrip("/")
        self.answer(200, file.read_bytes()) if file.is_file() else self.answer(404, b"nothing of that name")

    def answer(self, status: int, data: bytes, length: int | None = None, **headers: str) -> None:
        """Send an answer; of a file, the part that was asked for."""
        asked = self.headers.get("Range")
        if status == 200 and asked and self.site.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            size = len(data)
            start = int(first) if first else max(0, size - int(last))
            stop = min(size, int(last) + 1) if first and last else size
            if start >= size:
                status, data = 416, b""
            else:
                status, data = 206, data[start:stop]
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
        if length is not None:
            self.close_connection = True


@dataclass
class Site:
    """A folder behind a URL."""

    folder: Path
    ranges: bool = True
    faults: list[Fault] = field(default_factory=list)
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """What was asked for, in order."""
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def heard(self, path: str) -> Fault | None:
        """Note a request; the fault that it meets."""
        self.asked.append(path)
        for fault in self.faults:
            if fault.where in path and fault.times:
                fault.times -= 1
                return fault
        return None

    def stop(self, handler: Handler) -> None:
        """Go away: the answer at work breaks off, and nobody is asked any more."""
        handler.close_connection = True
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
        handler.connection.close()


@contextmanager
def serving(site: Site, kind: type[Handler] = Handler) -> Iterator[Site]:
    """Serve a site on a free port (or its own, again) until the block ends."""
    handler = type("SiteHandler", (kind,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", site.port), handler)
    server.daemon_threads = True
    site.port, site.server = server.server_port, server
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        if thread.is_alive():
            server.shutdown()
            server.server_close()
        thread.join()
