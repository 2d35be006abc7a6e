"""
What of a model's answer may stand: only what a quotation proves, in plain text, with nothing that nobody said.

A model may be wrong, and it may be obeying somebody who spoke to it from within the recording. So each statement, those
of the overview too, has to bring a quotation that was said; one with an address (link, e-mail) that was not said falls,
and Markdown and HTML are taken off, because a dashboard may render them. This cannot judge whether a statement follows
from its quotation: readers can, since it names its segments.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from worker.models import SummaryItem
from worker.summarize.llm_answer import Answer, Statement
from worker.summarize.llm_quotes import Spoken, words_of

MAX_STATEMENTS = {
    "overview": 6,
    "key_points": 15,
    "decisions": 25,
    "action_items": 40,
    "open_questions": 25,
    "topics": 20,
}
MAX_TEXT_CHARS = 500
MAX_READ_CHARS, MAX_READ_STATEMENTS = 4000, 200
"""What is longer is not read to its end: a statement is one sentence, and looking things up takes time."""

MAX_NAME_CHARS = 100
MAX_CITED = 10

_IMAGE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[A-Za-z!?][^<>]*>|<!--.*?-->", re.DOTALL)
_OPEN_TAG = re.compile(r"<(?=[A-Za-z!?/])")
_MARKS = re.compile(r"^\s*(?:#{1,6}|[-*+>]|\d{1,2}[.)])\s+|\*+(?=\S)|(?<=\S)\*+|`+|__+|~~+")
_ADDRESS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]*://|\bwww\.)[^\s<>\"')\]]+"
    r"|\b(?:javascript|data|vbscript|file|mailto|tel):[^\s<>\"')\]]+"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b[\w-]+(?:\.[\w-]+)+/[^\s<>\"')\]]*"
    r"|\b[\w-]{2,}(?:\.[\w-]{2,})*\.(?:com|net|org|info|biz|io|ai|app|dev|xyz|top|site|online|link|click|example|test)\b",
    re.IGNORECASE,
)
"""Whatever a dashboard or a mail program may turn into a link: with a scheme, a path, or a usual ending."""

_SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*:(?://)?)?(?:www\.)?", re.IGNORECASE)
_JOINERS = "\u200c\u200d"
"""Persian, Indic scripts and emoji need them; other invisible characters can hide text, or turn it round."""


def plain(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """The same words without Markdown, HTML, invisible characters and line breaks, cut at a word when too long."""
    text = "".join(_visible(c) for c in text[:MAX_READ_CHARS])
    for pattern, kept in ((_IMAGE, r"\1"), (_LINK, r"\1"), (_TAG, " ")):
        text = _until_stable(pattern, kept, text)
    text = " ".join(_MARKS.sub("", _OPEN_TAG.sub("", text)).split())
    if len(text) <= max_chars:
        return text
    return f"{text[: max_chars - 1].rsplit(maxsplit=1)[0]}\u2026"


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cf" and character not in _JOINERS:
        return ""
    return " " if kind in ("Cc", "Cs", "Co") else character


def _until_stable(pattern: re.Pattern[str], kept: str, text: str) -> str:
    """What is taken out must not leave the same behind, as `<scr<b>ipt>` would."""
    while (shorter := pattern.sub(kept, text)) != text:
        text = shorter
    return text


def has_foreign_address(text: str, spoken: Spoken) -> bool:
    """Whether there is a link or e-mail address in it that nobody said."""
    return any(not spoken.has(_SCHEME.sub("", address)) for address in _ADDRESS.findall(text[:MAX_READ_CHARS]))


def proved(answer: Answer, spoken: Spoken) -> tuple[Answer, int]:
    """
    The statements that may stand, with the segments where they stand; and how many may not.

    What comes after MAX_READ_STATEMENTS of a list is not looked at.
    """
    kept: dict[str, tuple[Statement, ...]] = {}
    num_dropped = 0
    for name, statements in answer.lists():
        checked = [_checked(statement, spoken) for statement in statements[:MAX_READ_STATEMENTS]]
        different = {item.text: item for item in checked if item}
        kept[name] = tuple(different.values())[: MAX_STATEMENTS[name]]
        num_dropped += checked.count(None)
    return Answer(**kept), num_dropped


def _checked(statement: Statement, spoken: Spoken) -> Statement | None:
    cited = [index for index in dict.fromkeys(statement.segments) if index in spoken.starts_s]
    places = spoken.prove(statement.quote, cited)
    text = plain(statement.text)
    if places is None or not words_of(text) or has_foreign_address(statement.text, spoken):
        return None
    others = [index for index in cited if index not in places]
    return Statement(
        segments=(*places, *others)[:MAX_CITED],
        quote=plain(statement.quote),
        text=text,
        owner=plain(statement.owner or "", MAX_NAME_CHARS) or None,
        due=plain(statement.due or "", MAX_NAME_CHARS) or None,
    )


def item_of(statement: Statement, spoken: Spoken, labels: Mapping[str, str]) -> SummaryItem:
    """
    A checked statement as readers get it: its time is that of the first segment where the quotation stands; an owner is
    somebody who took part or was mentioned, a date one that was said.

    Args:
        labels: by `owner_key` of every name that means one participant.
    """
    owner, due = statement.owner, statement.due
    label = labels.get(owner_key(owner)) if owner else None
    return SummaryItem(
        text=statement.text,
        segments=tuple(sorted(statement.segments)),
        start_s=spoken.starts_s[statement.segments[0]],
        owner=label or (owner if owner and spoken.has(owner) else None),
        due=due if due and spoken.has(due) else None,
    )


def owner_key(name: str) -> str:
    return " ".join(words_of(name))


def labels_of(names: Mapping[str, str], labels: frozenset[str]) -> dict[str, str]:
    """What owners of tasks may be called, and whom that means: labels, names, and first names that only one has."""
    found = {owner_key(label): label for label in labels}
    full = [(owner_key(name), label) for label, name in names.items()]
    first = [(key.partition(" ")[0], label) for key, label in full]
    for called in (full, first):
        for key, label in called:
            if key and len({other for k, other in called if k == key}) == 1:
                found.setdefault(key, label)
    return found
