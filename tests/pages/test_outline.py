"""Contents and explained words of a page; all of it by what stands in its text."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import escape

from aggregate.report.pages.outline import CONTENTS, WORDS, explained, outlined, with_contents
from aggregate.report.text.glossary import GLOSSARY


def test_a_word_is_explained_once_where_it_first_stands() -> None:
    text, words = explained("<h1>A bag</h1><p>Bags of tokens; a bag, and one more token.</p>")
    assert [word.name for word in words] == ["bag", "token"]
    assert text.count("<abbr") == 2
    assert "<h1>A bag</h1>" in text
    assert re.search(r'<p><abbr title="[^"]+">Bags</abbr> of <abbr title="[^"]+">tokens</abbr>; a bag', text)


def test_what_is_no_sentence_is_left_as_it_is() -> None:
    for kept in (
        '<svg aria-label="a head"><text>head</text></svg>',
        "<pre>head: {kind: mean}</pre>",
        "<code>head</code>",
        '<a href="head/">head</a>',
        "<style>head { }</style>",
        "<p>bundle/head, head-on, forehead, &head; Head size</p>",
    ):
        assert explained(kept)[0] == kept


def test_longer_words_come_before_those_they_hold() -> None:
    text, words = explained("<p>Out of fold, an anomaly score of the reference group.</p>")
    assert [word.name for word in words] == ["anomaly score", "out-of-fold", "reference group"]
    assert ">Out of fold</abbr>" in text


def test_every_word_of_the_glossary_is_found_by_its_own_name() -> None:
    assert len({word.name for word in GLOSSARY}) == len(GLOSSARY) > 20
    for word in GLOSSARY:
        assert [found.name for found in explained(f"<p>{word.name}</p>")[1]] == [word.name]


def test_headings_have_addresses_of_their_own() -> None:
    page = with_contents(
        f"<nav>{CONTENTS}</nav><h2>The grid</h2><h2>The <em>grid</em></h2><h2>ß &amp; ü</h2>"
    )
    links = dict(re.findall(r'<li><a href="#([^"]+)">(.*?)</a></li>', page))
    assert links == {"part-the-grid": "The grid", "part-the-grid-2": "The grid", "part-amp": "ß &amp; ü"}
    assert re.findall(r'<h2 id="([^"]+)">', page) == list(links)


def test_the_words_of_a_page_stand_at_its_end() -> None:
    page = outlined(f"{CONTENTS}<h2>Result</h2><p>A bag.</p>{WORDS}")
    assert page.index("A <abbr") < page.index('<h2 id="part-words">Words</h2>') < page.index("<dt>bag</dt>")
    assert '<a href="#part-words">Words</a>' in page
    assert "Words" not in outlined(f"{CONTENTS}<h2>Result</h2><p>Nothing.</p>{WORDS}")


@example("<!--contents--></h2><h2>bag <!--words--> &amp; <abbr title=")
@given(st.text(max_size=60))
def test_somebodys_text_stays_what_it_is(text: str) -> None:
    page = f'{CONTENTS}<h2>{escape(text)}</h2><p title="{escape(text)}">{escape(text)}</p>{WORDS}'
    body = outlined(page).partition("</ol>")[2].partition("<section>")[0]
    assert re.sub(r"</?abbr[^>]*>", "", body) == re.sub(
        r"<h2>", lambda _: re.search("<h2[^>]*>", body)[0], page.partition(CONTENTS)[2].removesuffix(WORDS)
    )
