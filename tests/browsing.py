"""A browser that looks at pages as people do: what it sees wrong with one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
GRAVE = ("serious", "critical")
DESKTOP, WIDE = {"width": 1280, "height": 900}, {"width": 1600, "height": 900}
PHONE = {"width": 390, "height": 844}
PATIENCE = 120_000
"""Milliseconds that a browser on a busy machine may take."""
DRIVER = "GL Driver Message"
"""Begins what a browser without a GPU says of its own drawing, however it pleases."""
READABLE = 9.9
"""Pixels of the smallest text of a figure, less what a browser rounds."""
OPENED = "() => document.querySelectorAll('details').forEach(one => { one.open = true })"
FINDINGS = "() => axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)"
SMALLEST_TEXT = """() => Math.min(99, ...[...document.querySelectorAll('svg text')].map(text => {
    const turn = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(turn.a, turn.b);
}))"""


@dataclass(frozen=True)
class View:
    """A screen, and what its owner prefers."""

    name: str
    viewport: dict[str, int]
    scheme: str = "light"


VIEWS = (View("desktop", DESKTOP), View("phone", PHONE), View("dark", WIDE, "dark"))


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, or the test is skipped: playwright's own where it is installed, else the machine's."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as play:
        own = Path(play.chromium.executable_path)
        path = str(own) if own.exists() else next(filter(None, map(shutil.which, NAMES)), None)
        if path is None:
            pytest.skip(f"no browser on this machine: none of {', '.join(NAMES)}")
        try:
            opened = play.chromium.launch(executable_path=path, timeout=PATIENCE)
        except sync.Error as error:
            pytest.skip(f"the browser {path!r} does not start: {str(error).splitlines()[0]}")
        yield opened
        opened.close()


def axe() -> str:
    """The program axe-core, as the package ships it."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    return next(Path(package.__file__).parent.rglob("axe.min.js")).read_text()


def wrong_with(opened: Any, path: Path, view: View) -> list[str]:
    """What axe-core calls serious, what a page logs or asks the network for, and what does not fit."""
    context = opened.new_context(viewport=view.viewport, color_scheme=view.scheme)
    context.set_default_timeout(PATIENCE)
    page, found = context.new_page(), []
    page.on("console", lambda said: DRIVER in said.text or found.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: found.append(f"error: {error}"))
    page.on("request", lambda asked: found.append(f"request: {asked.url[:100]}"))
    page.goto(path.as_uri())
    found = [one for one in found if one != f"request: {path.as_uri()[:100]}" and "request: data:" not in one]
    page.evaluate(OPENED)
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    found += [f"{wide} px wide on a screen of {view.viewport['width']}"] * (wide > view.viewport["width"])
    small = page.evaluate(SMALLEST_TEXT)
    found += [f"text of {small:.1f} px in a figure"] * (small < READABLE)
    page.evaluate(axe())
    for one in page.evaluate(FINDINGS):
        if one["impact"] in GRAVE:
            found.append(f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}")
    leave_picture(page, path, view)
    context.close()
    return found


def leave_picture(page: Any, path: Path, view: View) -> None:
    """A screenshot for who asks for it by SLICECACHE_SCREENSHOTS=FOLDER."""
    folder = os.environ.get("SLICECACHE_SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/{path.parent.name}-{path.stem}-{view.name}.png", full_page=True)
