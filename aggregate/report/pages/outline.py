"""What is the same on every page once its template is filled: explained words, and a list of contents."""

import re
from collections.abc import Iterator
from itertools import count

from markupsafe import escape

from aggregate.report.text.glossary import GLOSSARY, Word

CONTENTS, WORDS = "<!--contents-->", "<!--words-->"
"""Where the base template wants them. Nobody's text can hold one: it is escaped."""

HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
PIECE = re.compile(
    r"<(svg|style|title|pre|code|h1|h2|h3|a|abbr|summary)\b.*?</\1>|<[^>]*>|(?P<text>[^<]+)", re.DOTALL
)
"""A part of a page: what is left as it is, a tag, or text in which words may be explained."""


def outlined(page: str) -> str:
    """A page with its words explained where they are first used, and a list of its contents."""
    page, words = explained(page)
    section = "".join(f"<div><dt>{word.name}</dt><dd>{escape(word.meaning)}</dd></div>\n" for word in words)
    if section:
        section = f'<section>\n<h2>Words</h2>\n<dl class="words">\n{section}</dl>\n</section>'
    return with_contents(page.replace(WORDS, section, 1))


def explained(page: str) -> tuple[str, list[Word]]:
    """Words of the glossary as `<abbr>` where they are first used, and which they are, by the alphabet."""
    left = {f"w{place}": word for place, word in enumerate(GLOSSARY)}
    found = []

    def first(match: re.Match[str]) -> str:
        word = left.pop(str(match.lastgroup), None)
        if word is None:
            return match[0]
        found.append(word)
        return f'<abbr title="{escape(word.meaning)}">{match[0]}</abbr>'

    forms = "|".join(f"(?P<{key}>{word.forms})" for key, word in left.items())
    either = re.compile(rf"(?<![\w&/.-])(?:{forms})(?![\w/-])")
    text = PIECE.sub(lambda piece: either.sub(first, piece[0]) if piece["text"] else piece[0], page)
    return text, sorted(found, key=lambda word: word.name.lower())


def with_contents(page: str) -> str:
    """Headings with addresses, and links to them where the template wants them."""
    addresses: dict[str, str] = {}

    def addressed(match: re.Match[str]) -> str:
        words = TAG.sub("", match[1])
        address = next(name for name in _names(words) if name not in addresses)
        addresses[address] = words
        return f'<h2 id="{address}">{match[1]}</h2>'

    page = HEADING.sub(addressed, page)
    links = "\n".join(f'<li><a href="#{address}">{words}</a></li>' for address, words in addresses.items())
    return page.replace(CONTENTS, f"<ol>\n{links}\n</ol>", 1)


def _names(words: str) -> Iterator[str]:
    """Addresses for a heading, the plain one first."""
    plain = f"part-{re.sub('[^a-z0-9]+', '-', words.lower()).strip('-')[:40]}"
    yield plain
    yield from (f"{plain}-{n}" for n in count(2))
