"""`slicecache status`: how far a store is."""

import json
from typing import Annotated

import typer

from cache_schema.common.errors import ConfigError
from cache_schema.common.terminal.options import AsJson, StorePlace

Watch = Annotated[
    bool, typer.Option("--watch", help="Look again and again until nothing is left to do, or Ctrl-C.")
]
Every = Annotated[float, typer.Option(min=1.0, metavar="SECONDS", help="Between two looks of --watch.")]


def status(store: StorePlace, watch: Watch = False, every: Every = 5.0, as_json: AsJson = False) -> int:
    """Say how far STORE is: what is committed, failed and left, who is at work, and how long it will take.

    From any machine that sees the store; nothing is written. Ends with 0 when it could tell, whatever it
    told.
    """
    from cache_schema.status.look import Observer
    from cache_schema.status.status_text import status_text
    from cache_schema.status.watch import watch as watch_store

    if watch and as_json:
        raise ConfigError("--json gives one object and --watch many looks: leave one out")
    observer = Observer(store)
    if watch:
        try:
            watch_store(observer, every)
        except KeyboardInterrupt:
            typer.echo()
        return 0
    found = observer.look()
    typer.echo(json.dumps(found.as_json()) if as_json else status_text(found))
    return 0
