"""SeaweedFS on this machine: a store that speaks S3, keeps its data on disk, and keeps to conditional puts.

One process on 127.0.0.1, from `.venv-s3`, which the Makefile makes; SLICECACHE_WEED names another one.
"""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from swift_server import free_port

KEYS = {"accessKey": "tester", "secretKey": "testing"}
START_SECONDS = 60.0
HIGHEST = 50_000
"""Each port has a second one for its other protocol, 10,000 above it."""


def weed_program() -> Path | None:
    """SeaweedFS, if it is there."""
    given = os.environ.get("SLICECACHE_WEED", str(Path(__file__).parents[1] / ".venv-s3/bin/weed"))
    return Path(given) if Path(given).is_file() else None


def low_port() -> int:
    while (port := free_port()) > HIGHEST:
        pass
    return port


@dataclass
class Weed:
    """A server with its data below a folder; stopped and started at will."""

    folder: Path
    program: Path
    ports: dict[str, int] = field(
        default_factory=lambda: {kind: low_port() for kind in ("s3", "master", "volume", "filer")}
    )
    running: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start it, and wait until it takes an object."""
        who = {"name": "tester", "credentials": [KEYS], "actions": ["Admin", "Read", "Write", "List"]}
        users = self.folder / "users.json"
        users.write_text(json.dumps({"identities": [who]}))
        (self.folder / "data").mkdir(exist_ok=True)
        command = [self.program, "server", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1"]
        command += ["-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={users}"]
        command += ["-master.volumeSizeLimitMB=64", "-volume.max=20"]
        command += [f"-{kind}.port={port}" for kind, port in self.ports.items()]
        log = (self.folder / "log").open("ab")
        self.running = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._takes():
            if time.monotonic() > deadline or self.running.poll() is not None:
                raise RuntimeError(f"SeaweedFS does not start: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.2)

    def _takes(self) -> bool:
        """Whether it has its objects again, and its bucket is there, or is made, and takes one."""
        try:
            self._signed("started", "GET")  # started anew it answers 500 until it has found what it kept
            self._signed("")
            self._signed("started")
        except (urllib.error.URLError, OSError):
            return False
        return True

    def _signed(self, name: str, method: str = "PUT") -> None:
        """Put a bucket, or an object into it, or get that."""
        import obstore
        from obstore.store import S3Store

        place = S3Store(
            "cohort",
            endpoint=self.environment["AWS_ENDPOINT_URL"],
            access_key_id=KEYS["accessKey"],
            secret_access_key=KEYS["secretKey"],
            region="us-east-1",
            client_options={"allow_http": True},
        )
        # Not an empty one: that would be answered without the volumes, which are found last.
        body = bytes(8192) if name and method == "PUT" else None
        signed = obstore.sign(place, method, name, timedelta(minutes=1))
        request = urllib.request.Request(signed, method=method, data=body)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            if error.code not in (404, 409):  # nothing was there yet; the bucket is there
                raise

    def stop(self) -> None:
        """Stop it at once, as a machine that goes down."""
        if self.running is not None:
            self.running.kill()
            self.running.wait()
            self.running = None


@contextmanager
def weed(folder: Path, program: Path) -> Iterator[Weed]:
    """A server that runs until the block ends."""
    server = Weed(folder, program)
    try:
        server.start()
        yield server
    finally:
        server.stop()
