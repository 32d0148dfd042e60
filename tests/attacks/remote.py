"""Stores by URL: servers that fail, lie or are not there, URLs that are none, and verbs that would write."""

import os
import time
from collections.abc import Callable
from unittest.mock import patch

from serving import Fault, Handler, Site, serving

from attacks.scene import Answer, Attack, Scene

PASSWORD = "hunter2-of-somebody"
CHUNK = "/cls/c.1.0.0"


def environment(scene: Scene, **variables: str) -> None:
    """Set variables until the verb has run; none of other services' may be there."""
    services = ("AWS_", "AZURE_", "GOOGLE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(services)}
    scene.ending.enter_context(patch.dict(os.environ, {**kept, **variables}, clear=True))


def by_url(
    fault: Fault | None = None,
    *given: str,
    store: str = "sealed.zarr",
    before: str = "",
    ranges: bool = True,
    below: str = "",
) -> Callable[[Scene], list[str]]:
    """A store behind a server with a fault; `{url}` in what is given is the store's."""

    def arrange(scene: Scene) -> list[str]:
        scene.archived(store)
        scene.archived("train")
        site = Site(scene.folder, ranges, [fault] if fault else [])
        scene.ending.enter_context(serving(site))
        environment(scene, SLICECACHE_REMOTE_SECONDS="0.3", SLICECACHE_REMOTE_RETRIES="0")
        words = given or ((str(scene.folder / before), "{url}") if before else ("{url}",))
        url = f"{site.url}/{below}{store}"
        return [word.replace("{url}", url).replace("{tls}", url.replace("http", "https")) for word in words]

    return arrange


def status(code: int, where: str = "") -> Fault:
    return Fault(lambda handler: handler.answer(code, PASSWORD.encode()), where)


def sends(data: bytes, where: str = "", **headers: str) -> Fault:
    """Other bytes than those that lie there."""
    return Fault(lambda handler: handler.answer(200, data, **headers), where)


def is_late(handler: Handler) -> None:
    time.sleep(0.6)
    handler.close_connection = True


def stops_halfway(handler: Handler) -> None:
    handler.answer(200, b"{", length=1000)


def stalls_halfway(handler: Handler) -> None:
    handler.answer(200, b"{", length=1000)
    handler.wfile.flush()
    time.sleep(0.6)


def names_no_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"{}")
    handler.close_connection = True


def is_no_web_server(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


def redirects(to: str) -> Fault:
    return Fault(lambda handler: handler.answer(302, b"", Location=to or handler.path))


def leads_on(handler: Handler) -> None:
    handler.answer(302, b"", Location=handler.path.replace("moved/", ""))


def flips(handler: Handler) -> None:
    data = bytearray((handler.site.folder / handler.path.lstrip("/")).read_bytes())
    data[len(data) // 2] ^= 1
    handler.answer(200, bytes(data))


def sends_another_part(handler: Handler) -> None:
    handler.answer(206, bytes(10), **{"Content-Range": "bytes 50-59/2000"})


def sends_half_a_part(handler: Handler) -> None:
    handler.answer(206, bytes(10), **{"Content-Range": "bytes 0-9/30000"})


def nobody(*given: str) -> Callable[[Scene], list[str]]:
    """A port at which a server was, and is no more."""

    def arrange(scene: Scene) -> list[str]:
        with serving(Site(scene.folder)) as site:
            pass
        scene.archived("pipeline.yaml")
        environment(scene, SLICECACHE_REMOTE_RETRIES="0")
        return [word.format(url=f"{site.url}/cache.zarr", folder=scene.folder) for word in given]

    return arrange


def words(*given: str, **variables: str) -> Callable[[Scene], list[str]]:
    """Arguments as they stand; `{folder}` is the scene's."""

    def arrange(scene: Scene) -> list[str]:
        for name in ("sealed.zarr", "images", "pipeline.yaml", "train"):
            scene.archived(name)
        environment(scene, SLICECACHE_REMOTE_RETRIES="0", **variables)
        return [word.format(folder=scene.folder) for word in given]

    return arrange


def keeps_secrets(scene: Scene, answer: Answer) -> None:
    assert PASSWORD not in answer.text


def wrote_nothing(scene: Scene, answer: Answer) -> None:
    assert not [path for path in scene.folder.rglob("*") if path.name.endswith(":")], (
        "a folder named as a scheme"
    )


BUCKET = "s3://bucket/cache.zarr"
S3 = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
URL = "http://127.0.0.1:9/cache.zarr"

ATTACKS = [
    Attack("a web server, sealed", "cache verify", by_url(), "lists nothing.*all right", 0),
    Attack(
        "a web server, packed",
        "cache verify",
        by_url(None, "--full", "{url}", store="packed.zarr"),
        "all right",
        0,
    ),
    Attack(
        "a redirect that leads there",
        "cache inspect",
        by_url(Fault(leads_on, "moved/"), "{url}", below="moved/"),
        "9 of 10 planned",
        0,
    ),
    Attack(
        "the server forbids",
        "cache inspect",
        by_url(status(403)),
        "/sealed.zarr/header.json': .*403 Forbidden: no permission",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "the server wants a password",
        "cache verify",
        by_url(status(401)),
        "401 Unauthorized",
        3,
        check=keeps_secrets,
    ),
    Attack("the server fails", "cache inspect", by_url(status(500)), "500 Internal Server Error", 3),
    Attack("the server fails", "predict", by_url(status(500, CHUNK), before="train"), "c.1.0.0': .*500", 3),
    Attack(
        "the server fails in the middle", "cache verify", by_url(status(502, CHUNK)), "c.1.0.0': .*502", 3
    ),
    Attack("the server is overloaded", "cache inspect", by_url(status(503)), "503 Service Unavailable", 3),
    Attack("nothing at that URL", "cache inspect", by_url(status(404)), "no store at 'http://", 2),
    Attack("nothing at that URL", "cache verify", by_url(status(404)), "no store at 'http://", 2),
    Attack("nothing at that URL", "predict", by_url(status(404), before="train"), "no store at 'http://", 2),
    Attack("the server is late", "cache inspect", by_url(Fault(is_late)), "did not answer in time", 3),
    Attack(
        "the answer stalls halfway",
        "cache verify",
        by_url(Fault(stalls_halfway, CHUNK)),
        "did not answer in time",
        3,
    ),
    Attack(
        "the answer stops halfway", "cache inspect", by_url(Fault(stops_halfway)), "lost in the middle", 3
    ),
    Attack(
        "the answer stops halfway",
        "predict",
        by_url(Fault(stops_halfway, CHUNK), before="train"),
        "c.1.0.0': .*lost in the middle",
        3,
    ),
    Attack(
        "the answer has no length",
        "cache inspect",
        by_url(Fault(names_no_length)),
        "how long its answer is",
        3,
    ),
    Attack("no web server", "cache inspect", by_url(Fault(is_no_web_server)), "does not speak HTTP", 3),
    Attack("a redirect to itself", "cache inspect", by_url(redirects("")), "redirected in a circle", 3),
    Attack(
        "a redirect to a file", "cache inspect", by_url(redirects("file:///etc/passwd")), "header.json'", 3
    ),
    Attack(
        "a sign-in page for every name",
        "cache inspect",
        by_url(sends(b"<html>Sign in</html>")),
        "damaged or no header",
        2,
    ),
    Attack(
        "a chunk of another length",
        "predict",
        by_url(sends(b"short", CHUNK), before="train"),
        "has 5 bytes, not",
        2,
    ),
    Attack(
        "a chunk with a flipped bit",
        "predict",
        by_url(Fault(flips, CHUNK), before="train"),
        "does not match its checksum",
        2,
    ),
    Attack(
        "a chunk with a flipped bit",
        "cache verify",
        by_url(Fault(flips, CHUNK)),
        "1 problem.*c.1.0.0 does not match its checksum",
        1,
    ),
    Attack(
        "a chunk is not there", "predict", by_url(status(404, CHUNK), before="train"), "c.1.0.0 is missing", 2
    ),
    Attack("a chunk is not there", "cache verify", by_url(status(404, CHUNK)), "c.1.0.0 is missing", 1),
    Attack(
        "a seal with a flipped bit",
        "cache inspect",
        by_url(Fault(flips, "sealed/index")),
        "sealed/index.json (cannot be read|does not match)",
        2,
    ),
    Attack(
        "an answer to every segment of the table",
        "cache inspect",
        by_url(sends(b"{}", "table/")),
        "more than 1000 segments",
        2,
    ),
    Attack(
        "parts are ignored, packed",
        "predict",
        by_url(before="train", store="packed.zarr", ranges=False),
        "gives no parts of objects",
        3,
    ),
    Attack(
        "another part than asked for, packed",
        "predict",
        by_url(Fault(sends_another_part, "/cls/c."), before="train", store="packed.zarr"),
        "another part",
        3,
    ),
    Attack(
        "half of a part, packed",
        "predict",
        by_url(Fault(sends_half_a_part, "/cls/c."), before="train", store="packed.zarr"),
        "part|shard",
        3,
    ),
    Attack("not sealed", "cache inspect", by_url(store="unsealed.zarr"), "is not sealed.*seal the store", 2),
    Attack("not sealed", "cache verify", by_url(store="unsealed.zarr"), "is not sealed.*seal the store", 2),
    Attack(
        "not sealed",
        "predict",
        by_url(store="unsealed.zarr", before="train"),
        "is not sealed.*seal the store",
        2,
    ),
    Attack("nobody listens", "cache inspect", nobody("{url}"), "cache.zarr/header.json': nobody listens", 3),
    Attack(
        "nobody listens",
        "train",
        nobody("{folder}/pipeline.yaml", "--set", "cache.store={url}"),
        "nobody listens",
        3,
    ),
    Attack("no TLS there", "cache inspect", by_url(None, "{tls}"), r"\(TLS\)", 3),
    Attack(
        "no host of that name",
        "cache inspect",
        words(f"http://{'x' * 64}.invalid/cache.zarr", no_proxy="*"),
        "no host of that name",
        3,
    ),
    Attack(
        "a zip by URL",
        "cache inspect",
        words("http://127.0.0.1:9/store.zip"),
        "store.zip' is one file.*download it first",
        2,
    ),
    Attack(
        "an .h5 by URL",
        "predict",
        words("{folder}/train", "s3://bucket/store.h5"),
        "store.h5' is one file.*download it first",
        2,
    ),
    Attack(
        "a password in the URL",
        "cache inspect",
        words(f"http://me:{PASSWORD}@127.0.0.1:9/cache.zarr"),
        "'http://127.0.0.1:9/cache.zarr' was given with a user",
        2,
        check=keeps_secrets,
    ),
    Attack(
        "a signature in the URL",
        "cache verify",
        words(f"{URL}?sig={PASSWORD}"),
        "cache.zarr' was given with a query",
        2,
        check=keeps_secrets,
    ),
    Attack(
        "a password in the URL",
        "cache seal",
        words(f"s3://me:{PASSWORD}@bucket/cache.zarr"),
        "'s3://bucket/cache.zarr' was given with a user",
        2,
        check=keeps_secrets,
    ),
    Attack("an unknown scheme", "cache inspect", words("ftp://127.0.0.1/cache.zarr"), "not from 'ftp'", 2),
    Attack("no host", "cache inspect", words("http:///cache.zarr"), "names no host", 2),
    Attack("no bucket", "cache verify", words("s3:///cache.zarr"), "names no bucket", 2),
    Attack("a broken host", "cache inspect", words("http://[bad/cache.zarr"), "is no URL", 2),
    Attack("a port that is none", "cache inspect", words("http://127.0.0.1:port/cache.zarr"), "is no URL", 2),
    Attack(
        "no number of seconds",
        "cache inspect",
        words(URL, SLICECACHE_REMOTE_SECONDS="soon"),
        "SLICECACHE_REMOTE_SECONDS must be a number.*'soon'",
        2,
    ),
    Attack(
        "an endpoint without encryption",
        "cache inspect",
        words("s3://bucket/cache.zarr", **S3),
        "AWS_ALLOW_HTTP=true",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "an endpoint where nobody listens",
        "cache inspect",
        words("s3://bucket/cache.zarr", AWS_ALLOW_HTTP="true", **S3),
        "'s3://bucket/cache.zarr/header.json': nobody listens",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "half of the credentials",
        "cache inspect",
        words(
            "s3://bucket/cache.zarr",
            **{name: S3[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")},
        ),
        "no credentials were found",
        3,
        check=keeps_secrets,
    ),
    Attack("a file:// URL", "cache verify", words("file://{folder}/sealed.zarr"), "all right", 0),
    Attack(
        "a file:// URL of another host",
        "cache verify",
        words("file://elsewhere/cache.zarr"),
        "is no path of this machine",
        2,
    ),
    Attack(
        "a file:// URL",
        "cache seal",
        words("file://{folder}/sealed.zarr"),
        "takes a path; give '/.*sealed.zarr'",
        2,
        check=wrote_nothing,
    ),
    Attack(
        "to a URL",
        "extract",
        words("{folder}/pipeline.yaml", "--set", f"cache.store={URL}"),
        "is on a web server, which is only read; extract takes a folder or a bucket",
        2,
        check=wrote_nothing,
    ),
    Attack("of a URL", "cache seal", words(URL), "seal takes a folder or a bucket", 2, check=wrote_nothing),
    Attack("of a URL", "cache pack", words(URL), "pack works on a folder", 2, check=wrote_nothing),
    Attack(
        "to a bucket where nobody listens",
        "extract",
        words("{folder}/pipeline.yaml", "--set", f"cache.store={BUCKET}", AWS_ALLOW_HTTP="true", **S3),
        "cannot write 's3://bucket/cache.zarr/tmp/probe': nobody listens",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "to a bucket without encryption",
        "extract",
        words("{folder}/pipeline.yaml", "--set", f"cache.store={BUCKET}", **S3),
        "cannot write .*AWS_ALLOW_HTTP=true",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "to a bucket without credentials",
        "extract",
        words(
            "{folder}/pipeline.yaml",
            "--set",
            f"cache.store={BUCKET}",
            AWS_ENDPOINT_URL=S3["AWS_ENDPOINT_URL"],
        ),
        "cannot write .*no credentials were found",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "with a password in the URL",
        "extract",
        words("{folder}/pipeline.yaml", "--set", f"cache.store=s3://me:{PASSWORD}@bucket/cache.zarr"),
        "'s3://bucket/cache.zarr' was given with a user",
        2,
        check=keeps_secrets,
    ),
    Attack(
        "of a bucket where nobody listens",
        "cache seal",
        words(BUCKET, AWS_ALLOW_HTTP="true", **S3),
        "header.json': nobody listens",
        3,
        check=keeps_secrets,
    ),
    Attack(
        "to a zip in a bucket",
        "extract",
        words("{folder}/pipeline.yaml", "--set", "cache.store=s3://bucket/cache.zip"),
        "is one file",
        2,
        check=wrote_nothing,
    ),
    Attack("of a bucket", "cache pack", words(BUCKET), "pack works on a folder", 2, check=wrote_nothing),
    Attack("of a bucket", "cache unpack", words(BUCKET), "unpack works on a folder", 2, check=wrote_nothing),
    Attack(
        "to a URL",
        "cache pack",
        words("{folder}/sealed.zarr", "--out", URL),
        "pack works on a folder",
        2,
        check=wrote_nothing,
    ),
    Attack(
        "of a URL",
        "cache unpack",
        words(URL, "--out", "{folder}/new.zarr"),
        "unpack works on a folder",
        2,
        check=wrote_nothing,
    ),
    Attack(
        "of a URL",
        "cache remove",
        words(URL, "sub-01"),
        "remove takes a folder or a bucket",
        2,
        check=wrote_nothing,
    ),
    Attack(
        "to a URL",
        "cache import",
        words("{folder}/sealed.zarr", URL),
        "import makes a folder",
        2,
        check=wrote_nothing,
    ),
    Attack(
        "to a URL",
        "cache export",
        words("{folder}/sealed.zarr", "s3://bucket/out.h5"),
        "export works on a folder",
        2,
        check=wrote_nothing,
    ),
    Attack(
        "a run folder at a URL",
        "train",
        words(
            "{folder}/pipeline.yaml",
            "--set",
            "run.folder=s3://bucket/runs",
            "--set",
            "cache.store=sealed.zarr",
        ),
        "run.folder.*is a URL",
        2,
        check=wrote_nothing,
    ),
]
