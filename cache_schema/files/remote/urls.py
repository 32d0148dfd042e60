"""What a URL may say, and which places are one: a store is read from any, and written to buckets."""

from urllib.parse import unquote, urlsplit

from cache_schema.common.errors import StoreError

SCHEMES = ("s3", "gs", "az", "http", "https")
"""What a store is read from."""
PLAIN = ("http", "https")
"""Web servers, which give objects by name and list none."""
FILE = "file://"


def is_url(location: str) -> bool:
    """Whether a location is a URL and no path."""
    return "://" in location


def without_secrets(url: str) -> str:
    """A URL fit for messages: no user, no password, no query."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def require_url(url: str) -> str:
    """Refuse a URL that cannot be a store's; the scheme of any other.

    Raises:
        StoreError: If it is of an unknown scheme, names no host or bucket, carries credentials or a query, or
            is that of a single file.
    """
    shown = without_secrets(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise StoreError(f"{shown!r} is no URL: {error}") from error
    if parts.scheme not in SCHEMES:
        raise StoreError(
            f"{shown!r}: a store is read from {', '.join(SCHEMES)}, not from {parts.scheme!r}; copy it to a "
            "folder, or give its path"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise StoreError(
            f"{shown!r} was given with {'a user' if parts.username is not None else 'a query'} in the URL, "
            "which would end up in logs and run folders; give the URL without it, and credentials in the "
            "environment"
        )
    if not host:
        raise StoreError(f"{shown!r} names no {'host' if parts.scheme in PLAIN else 'bucket'}")
    if parts.path.endswith((".h5", ".hdf5", ".zip")):
        raise StoreError(
            f"{shown!r} is one file, which cannot be read piece by piece from there; download it first, or "
            "put the folder there that `slicecache cache import` makes of it"
        )
    return parts.scheme


def file_path(url: str) -> str:
    """The path in a `file://` URL.

    Raises:
        StoreError: If it is on another host, or no absolute path.
    """
    path = unquote(url.removeprefix(FILE))
    if not path.startswith("/"):
        raise StoreError(f"{url!r} is no path of this machine; give the path itself")
    return path


def require_place(location: str, verb: str) -> None:
    """Refuse a URL that cannot be written to.

    Raises:
        StoreError: If the location is a `file://` URL, on a web server, or cannot be a store's.
    """
    if location.startswith(FILE):
        raise StoreError(f"{location!r}: {verb} takes a path; give {file_path(location)!r}")
    if is_url(location) and require_url(location) in PLAIN:
        raise StoreError(
            f"{location!r} is on a web server, which is only read; {verb} takes a folder or a bucket "
            f"({', '.join(f'{scheme}://' for scheme in SCHEMES if scheme not in PLAIN)})"
        )


def require_folder_place(location: str, verb: str) -> None:
    """Refuse a URL where a folder is rebuilt as a whole and renamed.

    Raises:
        StoreError: If the location is one.
    """
    if location.startswith(FILE):
        require_place(location, verb)
    if is_url(location):
        shown = without_secrets(location)
        raise StoreError(
            f"{shown!r} is a URL, where nothing is renamed into place; {verb} works on a folder, which any "
            f"copying tool (or `slicecache cache import {shown} FOLDER`) makes of it and puts there again"
        )
