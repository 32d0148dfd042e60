"""`slicecache cache`: look into a store, check it, seal it."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cache_schema.verify import Verification

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output and nothing else."
)


@click.group()
def cache() -> None:
    """Look into a store, check it, seal it."""


@cache.command()
@click.argument("store")
@as_json_option
def inspect(store: str, as_json: bool) -> int:
    """Say what is in STORE, how large it is and what it was made with."""
    from cache_schema.describe import describe, in_words

    description = describe(store)
    click.echo(json.dumps(description) if as_json else in_words(description))
    return 0


@cache.command()
@click.argument("store")
@as_json_option
def verify(store: str, as_json: bool) -> int:
    """Check STORE against itself: header, table, records, checksums and digests.

    Ends with 1 when anything is wrong, and names each problem by volume and array.
    """
    from cache_schema.verify import verify as verify_store

    verification = verify_store(store)
    click.echo(json.dumps(verification.as_json()) if as_json else report(verification))
    return 0 if verification.ok else 1


@cache.command()
@click.argument("store")
@as_json_option
def seal(store: str, as_json: bool) -> int:
    """Gather the records of STORE, so that it opens at once, and mark it complete.

    A later write takes the seal off.
    """
    from cache_schema.reader import open_store
    from cache_schema.seal import seal as seal_store

    seal_store(store)
    reader = open_store(store)
    digest = reader.content_digest()
    if as_json:
        click.echo(json.dumps({"sealed": True, "n_volumes": len(reader.entries), "content_digest": digest}))
    else:
        click.echo(f"sealed {store}: {len(reader.entries)} volumes, content digest {digest}")
    return 0


def report(verification: "Verification") -> str:
    """A verification for people."""
    v = verification
    head = f"{v.location}: {v.n_volumes} volumes, {v.bytes_read / 1e6:.1f} MB read in {v.seconds:.1f} s"
    lines = [head, *v.notes]
    if v.ok:
        return "\n".join([*lines, "all right"])
    lines.append(f"{len(v.problems)} problem{'s' if len(v.problems) > 1 else ''}:")
    for problem in v.problems:
        lines.append(f"  {problem.volume or 'the store'}, {problem.array}: {problem.problem}")
        lines.append(f"      -> {problem.advice}")
    return "\n".join(lines)
