"""OpenStack Swift on this machine, a store that speaks S3 and keeps its data on disk.

A proxy, an account, a container and an object server, one copy of everything, on 127.0.0.1 only. It lives in
an environment of its own, `.venv-s3`, which the Makefile makes; SLICECACHE_SWIFT names another one's Python.
"""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

ACCOUNT, KEY = "test:tester", "testing"
START_SECONDS = 60.0
RINGS = ("account", "container", "object")
MAKE_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder, *kinds = sys.argv[1:]
for kind, port in (word.split(":") for word in kinds):
    builder = RingBuilder(2, 1, 0)
    place = {"region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1"}
    builder.add_dev(place)
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""
PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
log_name = proxy
[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
"""
STORAGE = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/disks
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""


def swift_python() -> Path | None:
    """The Python that has Swift, if there is one."""
    given = os.environ.get("SLICECACHE_SWIFT", str(Path(__file__).parents[1] / ".venv-s3/bin/python"))
    return Path(given) if Path(given).is_file() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@dataclass
class Swift:
    """A server with its data below a folder; stopped and started at will."""

    folder: Path
    python: Path
    ports: dict[str, int] = field(default_factory=lambda: {kind: free_port() for kind in ("proxy", *RINGS)})
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "us-east-1",
        }

    def lay_out(self) -> None:
        """Write configuration and rings: where each copy of each thing lies."""
        (self.folder / "disks/d1").mkdir(parents=True)
        (self.folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = made-up\n")
        (self.folder / "proxy-server.conf").write_text(
            PROXY.format(port=self.ports["proxy"], folder=self.folder)
        )
        for kind in RINGS:
            text = STORAGE.format(port=self.ports[kind], folder=self.folder, kind=kind)
            (self.folder / f"{kind}-server.conf").write_text(text)
        rings = [
            self.python,
            "-c",
            MAKE_RINGS,
            self.folder,
            *(f"{kind}:{self.ports[kind]}" for kind in RINGS),
        ]
        subprocess.run(rings, check=True, capture_output=True, timeout=120)

    def start(self) -> None:
        """Start all four, and wait until the front one answers."""
        if not (self.folder / "swift.conf").exists():
            self.lay_out()
        for kind in self.ports:
            command = [
                self.python.with_name(f"swift-{kind}-server"),
                self.folder / f"{kind}-server.conf",
                "-v",
            ]
            log = (self.folder / f"{kind}.log").open("ab")
            kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
            self.running.append(subprocess.Popen(command, stdout=log, stderr=log, env=kept))
            log.close()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.running):
                said = "\n".join(path.read_text()[-1000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"Swift does not start: {said}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        """Whether all four do; the front one alone would say 503."""
        return all(listens(port) for port in self.ports.values())

    def bucket(self, name: str) -> None:
        """Make a bucket; the environment must be the server's."""
        import obstore
        from obstore.store import from_url

        place = from_url(f"s3://{name}", client_options={"allow_http": True})
        signed = obstore.sign(place, "PUT", "", timedelta(minutes=1))
        with urllib.request.urlopen(urllib.request.Request(signed, method="PUT"), timeout=30) as answer:
            assert answer.status == 200

    def stop(self) -> None:
        """Stop them at once, as a machine that goes down."""
        for process in self.running:
            process.kill()
        for process in self.running:
            process.wait()
        self.running.clear()


def upload(folder: Path, url: str) -> None:
    """Copy a folder to a URL, as any copying tool does."""
    import obstore
    from obstore.store import from_url

    place = from_url(url, client_options={"allow_http": True})
    files = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda path: obstore.put(place, str(path.relative_to(folder)), path.read_bytes()), files)
        )


@contextmanager
def swift(folder: Path, python: Path) -> Iterator[Swift]:
    """A server that runs until the block ends."""
    server = Swift(folder, python)
    try:
        server.start()
        yield server
    finally:
        server.stop()
