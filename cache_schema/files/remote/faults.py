"""What a request that failed is told as: one sentence with the URL, without what a server or a library says.

A server's text is somebody else's and may hold anything; the library's repeats the URL that it asked for,
which may hold a signature. Neither is printed.
"""

import re

from cache_schema.common.errors import MachineError, SlicecacheError, StoreError

STATUS = re.compile(r"non-2xx status code: (\d{3}(?: [A-Z][A-Za-z-]*)*)")
NO_BUCKET = re.compile(r"<Code>NoSuch(Bucket|Container)</Code>|<Code>ContainerNotFound</Code>")
NO_CONDITION = re.compile(r"status code: 501|NotSupported|NotImplemented")
"""What is said of a put under a condition by a server, or by obstore, that knows none."""
WHO_ASKS = re.compile(
    r"performing [A-Z]+ https?://(169\.254\.|metadata\.google)|source: Missing(?!Content)|metadata/"
)
"""Without keys in the environment the machine itself is asked for them, as in a cloud it can be."""
NO_KEYS = (
    "no credentials were found; set them in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "AWS_SKIP_SIGNATURE=true where everybody may read)"
)
FAULTS = (
    (r"BadScheme|URL scheme is not allowed", "it is not encrypted; set AWS_ALLOW_HTTP=true if that is meant"),
    (r"ConnectionRefused", "nobody listens there"),
    (r"dns error|failed to lookup", "there is no host of that name"),
    (r"following redirect|TooManyRedirects", "it is redirected in a circle, or too often"),
    (r"without LOCATION", "it is in another region; set AWS_REGION"),
    (r"RangeNotSupported", "the server gives no parts of objects, which a packed store needs: unpack it"),
    (r"UnexpectedRange|ContentRange", "it answered with another part than was asked for"),
    (r"ContentLength", "it does not say how long its answer is"),
    (r"[Cc]ertificate|InvalidContentType|HandshakeFailure|AlertReceived|CorruptMessage|InvalidMessage",
     "no encrypted connection could be made (TLS)"),
    (r"TimedOut|kind: Timeout", "it did not answer in time"),
    (r"IncompleteBody|UnexpectedEof|ConnectionReset|ConnectionAborted|Interrupted|IncompleteMessage|BrokenPipe",
     "the connection was lost in the middle of the answer"),
    (r"Parse\(|InvalidChunk", "it does not speak HTTP"),
)  # fmt: skip
"""What a library's text holds -> what is said. The first that fits."""


def told(error: Exception, place: str, doing: str = "read") -> SlicecacheError:
    """The mistake to raise for a request that failed.

    Args:
        error: What the library raised.
        place: The URL that was asked for, as it may be printed.
        doing: `read`, `write` or `delete`.
    """
    text = str(error)
    if NO_BUCKET.search(text):
        return StoreError(f"cannot {doing} {place!r}: there is no such bucket")
    status = STATUS.search(text)
    if WHO_ASKS.search(text):
        words = NO_KEYS
    elif status is not None:
        words = f"the server answered {status[1]}{_hint(status[1], place, doing)}"
    else:
        words = next((words for pattern, words in FAULTS if re.search(pattern, text)), "the request failed")
    return MachineError(f"cannot {doing} {place!r}: {words}")


def _hint(status: str, place: str, doing: str) -> str:
    """What may be behind a status."""
    if status.startswith("403") and place.startswith("s3") and doing == "read":
        return (
            " (S3 answers so for objects that are not there, too, where the user may not list: s3:ListBucket)"
        )
    if status.startswith(("401", "403")):
        return ": no permission"
    return ""
