"""A small server that speaks as much S3 as a store needs, in memory, with weaknesses on request."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Conditions = Literal["kept", "unknown", "leaky"]


@dataclass
class S3:
    """One bucket, `cohort`."""

    conditions: Conditions = "kept"
    """Of conditional puts: one of several wins; 501; or they are checked a while before they are obeyed."""
    lists: bool = True
    """Whether a list has what was put; else it has nothing, as a server's that is late with its lists."""
    wait: float = 0.0
    """Seconds before each answer."""
    lost: dict[str, int] = field(default_factory=dict)
    """Names of objects of which so many puts are done and never answered."""
    refused: dict[str, int] = field(default_factory=dict)
    """What a method, e.g. PUT, is answered instead of being done."""
    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and object of every request."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "made up",
            "AWS_REGION": "us-east-1",
        }

    def put(self, name: str, data: bytes, conditional: bool) -> int:
        """Write an object; the status of the answer."""
        if conditional and self.conditions == "unknown":
            return 501
        if conditional and self.conditions == "leaky":
            if name in self.objects:
                return 412
            time.sleep(0.05)
        with self.lock:
            if conditional and self.conditions == "kept" and name in self.objects:
                return 412
            self.objects[name] = (data, datetime.now(UTC))
        return 200


class Handler(BaseHTTPRequestHandler):
    """Paths are `/cohort/NAME`."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    s3: S3

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def _asked(self) -> tuple[str, dict[str, list[str]], bytes]:
        """Name, query and body."""
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
        with self.s3.lock:
            self.s3.asked.append((self.command, name or parts.query))
        time.sleep(self.s3.wait)
        return (name if bucket == "cohort" else ""), parse_qs(parts.query, keep_blank_values=True), body

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuses(self) -> bool:
        status = self.s3.refused.get(self.command)
        if status is not None:
            self._answer(status)
        return status is not None

    def do_PUT(self) -> None:
        name, _, body = self._asked()
        if self._refuses():
            return
        status = self.s3.put(name, body, "If-None-Match" in self.headers)
        if self.s3.lost.get(name, 0) > 0:
            self.s3.lost[name] -= 1
            self.close_connection = True
            self.connection.close()
            return
        self._answer(status, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name, query, _ = self._asked()
        if self._refuses():
            return
        if "list-type" in query:
            self._list(query.get("prefix", [""])[0])
            return
        found = self.s3.objects.get(name)
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        data, when = found
        facts = {
            "ETag": f'"{hashlib.md5(data).hexdigest()}"',
            "Last_Modified": format_datetime(when, usegmt=True),
        }
        asked = self.headers.get("Range", "")
        if asked and data:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, len(data) - int(last))
            stop = min(len(data), int(last) + 1) if first and last else len(data)
            facts["Content_Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self._answer(206, data[start:stop], **facts)
        else:
            self._answer(200, data, **facts)

    def _list(self, prefix: str) -> None:
        with self.s3.lock:
            found = sorted(self.s3.objects.items()) if self.s3.lists else []
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(data)}</Size><ETag>x</ETag>"
            f"<LastModified>{when:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for name, (data, when) in found
            if name.startswith(prefix)
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        self._answer(200, body.encode())

    def do_POST(self) -> None:
        _, _, body = self._asked()
        if self._refuses():
            return
        names = re.findall(r"<Key>(.*?)</Key>", body.decode())
        for name in names:
            with self.s3.lock:
                self.s3.objects.pop(name, None)
                self.s3.asked[-1] = ("DELETE", name)
        said = "".join(f"<Deleted><Key>{name}</Key></Deleted>" for name in names)
        self._answer(200, f"<DeleteResult>{said}</DeleteResult>".encode())


@contextmanager
def speaking_s3(s3: S3) -> Iterator[S3]:
    """Serve a bucket on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", s3.port), type("S3Handler", (Handler,), {"s3": s3}))
    server.daemon_threads = True
    s3.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield s3
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
