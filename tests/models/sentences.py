"""What is said: sentences of meetings, and as many of words in random order, so that no model can guess."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.models.vocabulary import DAYS, NAMES, NOUNS, NUMBERS, STARTERS, VERBS, WORDS

_UNITS, _TENS, _LARGE = NUMBERS[:12], NUMBERS[12:17], NUMBERS[17:]
_MODALS = ("will", "should", "must", "can", "will not", "should not", "must not", "can not")
_ARTICLES = ("the", "the", "the new", "the first", "a", "a new", "the next")
_SHORT = ("Yes", "No", "Okay", "Thanks", "I agree", "Thanks {name}", "Yes {name}", "Okay {name}", "No thanks")


def sentence(rng: Random) -> str:
    """One in twenty is an interjection, half of the others a sentence of a meeting, the rest in random order."""
    kind = rng.random()
    if kind < 0.05:
        words = rng.choice((*_SHORT, "Yes please")).format(name=rng.choice(NAMES))
    elif kind < 0.55:
        return meeting_sentence(rng)
    else:
        words = _random_words(rng)
    return f"{words}."


def meeting_sentence(rng: Random) -> str:
    return " ".join(rng.choice(_SENTENCES)(rng).split()) + "."


def _random_words(rng: Random) -> str:
    first = rng.choice((*STARTERS, *NAMES, "I"))
    return " ".join([first, *rng.choices(WORDS, k=rng.randint(2, 9))])


def _number(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(_UNITS)
    if kind < 0.6:
        return f"{rng.choice(_TENS)} {rng.choice(_UNITS[:9])}"
    if kind < 0.8:
        return f"{rng.choice(_UNITS[:9])} {rng.choice(_LARGE)}"
    return rng.choice(_TENS)


def _amount(rng: Random) -> str:
    return f"{_number(rng)} {rng.choice(('dollars', 'percent'))}"


def _thing(rng: Random) -> str:
    return f"{rng.choice(_ARTICLES)} {rng.choice(NOUNS)}"


def _date(rng: Random) -> str:
    day = rng.choice(DAYS)
    dates = ("next week", "today", "tomorrow", *(f"{word} {day}" for word in ("on", "by", "before", "next")))
    return rng.choice((*dates, f"after {_thing(rng)}", f"by {_number(rng)}"))


def _modal(rng: Random) -> str:
    return rng.choice(_MODALS)


def _name(rng: Random) -> str:
    return rng.choice(NAMES)


def _act(rng: Random) -> str:
    """A verb with its object: approve the new budget for the office."""
    more = ("", "", f"for {_thing(rng)}", f"with {_name(rng)}", f"about {_thing(rng)}", f"and {_thing(rng)}")
    return f"{rng.choice(VERBS)} {_thing(rng)} {rng.choice(more)}"


def _sometimes(rng: Random, text: str) -> str:
    return rng.choice((text, ""))


def _fact(rng: Random) -> str:
    return rng.choice((_amount(rng), _date(rng), f"about {_amount(rng)}"))


def _assent(rng: Random) -> str:
    acts = ("I agree", "we agree", f"I will {_act(rng)}", f"{_name(rng)} {_modal(rng)} {_act(rng)}")
    return f"Yes {rng.choice(acts)}"


def _wish(rng: Random) -> str:
    verb = rng.choice(("need", "agree with", "will approve", "will send", "can check"))
    return f"I {verb} {_thing(rng)} {_sometimes(rng, _date(rng))}"


_SENTENCES: tuple[Callable[[Random], str], ...] = (
    lambda rng: f"We {_modal(rng)} {_act(rng)}",
    lambda rng: f"{_name(rng)} {_modal(rng)} {_act(rng)} {_date(rng)}",
    lambda rng: f"The {rng.choice(NOUNS)} is {_fact(rng)}",
    lambda rng: f"Please {_act(rng)} {_sometimes(rng, _date(rng))}",
    _assent,
    lambda rng: f"No we {_modal(rng)} {_act(rng)}",
    lambda rng: f"No the {rng.choice(NOUNS)} is {_date(rng)}",
    lambda rng: f"Okay I will {_act(rng)}",
    lambda rng: f"Okay we {_modal(rng)} {_act(rng)} {_date(rng)}",
    lambda rng: f"Can you {_act(rng)} {_date(rng)}",
    _wish,
    lambda rng: f"{_name(rng)} and {_name(rng)} {_modal(rng)} {_act(rng)}",
    lambda rng: f"The {rng.choice(NOUNS)} {_modal(rng)} start {_date(rng)}",
    lambda rng: f"Should we {_act(rng)} {_sometimes(rng, _date(rng))}",
    lambda rng: f"You {_modal(rng)} {_act(rng)} for {_amount(rng)}",
    lambda rng: f"We need {_amount(rng)} for {_thing(rng)}",
)
