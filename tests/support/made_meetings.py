"""
Long meetings made up by a seed: topics that are talked about in turn, with small talk, digressions and planted facts.

What matters is known, because it was put there: for each topic two findings, a decision and a task, each with a number
that is said nowhere else. Half of the decisions and tasks are said without the words by which one would look for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from worker.models import TranscriptSegment

WORDS_PER_S = 170 / 60
SENTENCES_PER_TOPIC = 75
"""Eight topics of 75 sentences, with small talk and digressions, are about an hour."""


@dataclass(frozen=True)
class Words:
    """What the people of one language say. `{a}` and `{b}` are terms of the topic, `{n}` is the number of a fact."""

    talk: tuple[str, ...]
    small_talk: tuple[str, ...]
    digression: tuple[str, ...]
    findings: tuple[str, ...]
    decisions: tuple[str, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Fact:
    """`mark` is a number that only this sentence holds."""

    topic: int
    kind: str
    mark: str


@dataclass(frozen=True)
class MadeMeeting:
    """
    `topics` says of each segment in which topic it was said; None: small talk and digressions. `terms` are those of all
    topics, in lower case.
    """

    name: str
    language: str
    segments: tuple[TranscriptSegment, ...]
    topics: tuple[int | None, ...]
    facts: tuple[Fact, ...]
    terms: frozenset[str]

    @property
    def num_topics(self) -> int:
        return len({topic for topic in self.topics if topic is not None})


ENGLISH = Words(
    talk=(
        "I think the {a} depends on the {b} more than we like to admit.",
        "Last time the {a} was the problem and not the {b}.",
        "What about the {a} if the {b} is late again?",
        "Nobody has looked at the {a} since the {b} was changed.",
        "The {a} and the {b} do not really belong together.",
        "We should be careful with the {a} there.",
        "From my side the {a} looks fine, but the {b} does not.",
        "Somebody told me that the {a} is better than the {b} in every respect.",
        "I would rather talk about the {a} first.",
        "That is exactly what happened with the {a} before.",
        "Maybe the {b} explains the {a}, maybe not.",
        "Could you say a bit more about the {a}?",
        "There is a lot of uncertainty in the {a}, as always.",
        "Without the {b} the {a} makes no sense at all.",
        "Right, and the {a} is still open.",
        "I have seen the {a} work quite well elsewhere.",
        "My impression is that the {b} gets too little attention.",
        "The people who know the {a} are not here today.",
    ),
    small_talk=(
        "Can everybody hear me all right?",
        "Sorry, I was on mute the whole time.",
        "Let us wait a minute until the others are here.",
        "Yeah, exactly, that is what I mean.",
        "Okay, okay, fine, go on.",
        "Sorry, go ahead, I did not want to interrupt you.",
        "Hang on, my screen is frozen again.",
        "Did you get some coffee in the meantime?",
        "Well, you know how it is, I mean.",
        "Good, so, where were we just now?",
        "Is somebody else at the door?",
        "I can see your slides now, thanks.",
    ),
    digression=(
        "My train stood still for an hour again this morning.",
        "The weather at the seaside was terrible the whole weekend.",
        "The children had a football match in the rain.",
        "We stayed at that little hotel near the harbour, the one with the garden.",
        "The restaurant there was full, so we cooked pasta in the kitchen.",
        "On the way back the train was late as well.",
        "You should try the museum when it rains at the seaside.",
        "The football match ended without a single goal.",
    ),
    findings=(
        "In the test the {a} took {n} hours instead of a few, and the {b} was the cause.",
        "The {a} will cost {n} euros more because of the {b}.",
        "We measured the {a} with {n} people, and the {b} made all the difference.",
        "There are {n} complaints about the {a}, nearly all of them because of the {b}.",
    ),
    decisions=(
        "We decided to replace the {a} by the {b} for {n} euros.",
        "So the plan is to stop the {a} and move all {n} cases to the {b}.",
        "We agreed that the {a} needs {n} days of work before the {b} starts.",
        "Good, then the {b} goes first and the {a} gets {n} euros.",
    ),
    tasks=(
        "I will send the list of {n} open points on the {a} by Friday.",
        "Maria takes the {a} and comes back with {n} examples of the {b}.",
        "Can you check the {a} of all {n} sites by next week?",
        "The {b} is with Tom then, with {n} hours for the {a}.",
    ),
)

GERMAN = Words(
    talk=(
        "Ich glaube, {a} hängt mehr von {b} ab, als uns lieb ist.",
        "Beim letzten Mal lag es an {a} und nicht an {b}.",
        "Was ist mit {a}, wenn sich {b} wieder verspätet?",
        "Niemand hat sich {a} angesehen, seit {b} geändert wurde.",
        "Die Themen {a} und {b} gehören eigentlich nicht zusammen.",
        "Bei {a} sollten wir vorsichtig sein.",
        "Von mir aus ist {a} in Ordnung, aber {b} noch nicht.",
        "Mir hat jemand gesagt, dass {a} in jeder Hinsicht besser läuft als {b}.",
        "Ich würde lieber zuerst über {a} sprechen.",
        "Genau das ist uns bei {a} schon einmal passiert.",
        "Vielleicht erklärt {b} das mit {a}, vielleicht auch nicht.",
        "Kannst du etwas mehr zu {a} sagen?",
        "Bei {a} ist wie immer vieles unsicher.",
        "Ohne {b} ergibt {a} überhaupt keinen Sinn.",
        "Richtig, und {a} ist noch offen.",
        "Mein Eindruck ist, dass {b} zu wenig Beachtung findet.",
    ),
    small_talk=(
        "Können mich alle gut hören?",
        "Entschuldigung, ich war die ganze Zeit stumm.",
        "Warten wir noch eine Minute auf die anderen.",
        "Ja, genau, das meine ich auch.",
        "Okay, okay, gut, weiter.",
        "Moment, mein Bildschirm steht schon wieder.",
        "Na ja, du weißt ja, wie das ist.",
        "Gut, also, wo waren wir gerade?",
        "Ich sehe deine Folien jetzt, danke.",
    ),
    digression=(
        "Mein Zug stand heute Morgen wieder eine Stunde lang.",
        "Das Wetter am Meer war das ganze Wochenende schlecht.",
        "Die Kinder hatten ein Fußballspiel im Regen.",
        "Wir waren in dem kleinen Hotel am Hafen, dem mit dem Garten.",
        "Auf der Rückfahrt hatte der Zug auch Verspätung.",
        "Das Fußballspiel endete ohne ein einziges Tor.",
    ),
    findings=(
        "Im Versuch hat {a} ganze {n} Stunden gedauert, und schuld daran war {b}.",
        "Wegen {b} kostet {a} jetzt {n} Euro mehr.",
        "Es gibt {n} Beschwerden über {a}, fast alle wegen {b}.",
    ),
    decisions=(
        "Wir haben beschlossen, {a} für {n} Euro durch {b} zu ersetzen.",
        "Der Plan ist also, {a} einzustellen und alle {n} Fälle über {b} zu machen.",
        "Gut, dann kommt {b} zuerst, und {a} bekommt {n} Euro.",
    ),
    tasks=(
        "Ich schicke die Liste mit den {n} offenen Punkten zu {a} bis Freitag.",
        "Maria kümmert sich um {a} und bringt {n} Beispiele für {b} mit.",
        "Bei Tom liegt dann {b}, mit {n} Stunden für {a}.",
    ),
)

_MEETINGS = {
    "lab": (
        ENGLISH,
        "en",
        """microscope lens camera stage focus | reagents freezer delivery supplier batch | grant budget
        proposal reviewer deadline | students thesis seminar supervision exam | safety fume hood gloves
        inspection | dataset labels annotation storage backup | paper figures journal revision editor |
        workshop rooms catering speakers invitation""",
    ),
    "company": (
        ENGLISH,
        "en",
        """invoice payment customer reminder account | website homepage banner search checkout | warehouse
        pallet forklift shelf inventory | hiring candidate interview salary contract | newsletter
        subscribers subject unsubscribe template | server certificate outage monitoring hosting | returns
        refund parcel courier label | office lease furniture heating parking""",
    ),
    "Verein": (
        GERMAN,
        "de",
        """Beitrag Kassenprüfung Mahnung Konto Haushalt | Sommerfest Getränke Zelt Musik Genehmigung |
        Jugendtraining Trainer Halle Bälle Trikots | Satzung Vorstand Wahl Protokoll Notar | Internetseite
        Fotos Passwort Impressum Anmeldung | Vereinsheim Dach Heizung Handwerker Versicherung | Turnier
        Schiedsrichter Spielplan Pokal Anreise | Spenden Stadt Antrag Förderung Quittung""",
    ),
}
NAMES = tuple(_MEETINGS)


def made_meeting(name: str, seed: int = 1) -> MadeMeeting:
    """One of NAMES, of about an hour; the same seed makes the same meeting."""
    words, language, written = _MEETINGS[name]
    random = Random(f"{name} {seed}")
    topics = [tuple(part.split()) for part in written.split("|")]
    marks = iter(random.sample(range(1_001, 9_999), 4 * len(topics)))
    said: list[tuple[int | None, str]] = [(None, line) for line in random.choices(words.small_talk, k=25)]
    facts: list[Fact] = []
    for number, terms in enumerate(topics):
        talk = [(number, line) for line in _talk(words, terms, random)]
        for kind, patterns in _planted(words):
            mark = str(next(marks))
            facts.append(Fact(number, kind, mark))
            talk.insert(random.randrange(len(talk)), (number, _filled(random.choice(patterns), terms, random, mark)))
        said += _with_asides(talk, words, random)
    known = frozenset(term.casefold() for terms in topics for term in terms)
    return MadeMeeting(name, language, *_segments(said, random), tuple(facts), known)


def _planted(words: Words) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("finding", words.findings),
        ("finding", words.findings),
        ("decision", words.decisions),
        ("task", words.tasks),
    )


def _talk(words: Words, terms: tuple[str, ...], random: Random) -> Iterator[str]:
    for _ in range(SENTENCES_PER_TOPIC):
        yield _filled(random.choice(words.talk), terms, random)


def _filled(pattern: str, terms: tuple[str, ...], random: Random, mark: str = "") -> str:
    a, b = random.sample(terms, 2)
    return pattern.format(a=a, b=b, n=mark)


def _with_asides(talk: list[tuple[int, str]], words: Words, random: Random) -> Iterator[tuple[int | None, str]]:
    """Small talk after every sixth sentence or so, and one digression."""
    digression_at = random.randrange(len(talk))
    for place, line in enumerate(talk):
        yield line
        if random.random() < 1 / 6:
            yield None, random.choice(words.small_talk)
        if place == digression_at:
            yield from ((None, aside) for aside in random.sample(words.digression, 5))


def _segments(
    said: list[tuple[int | None, str]], random: Random
) -> tuple[tuple[TranscriptSegment, ...], tuple[int | None, ...]]:
    segments: list[TranscriptSegment] = []
    at_s = 0.0
    for index, (_, text) in enumerate(said):
        end_s = at_s + len(text.split()) / WORDS_PER_S
        label = f"SPEAKER_{random.randrange(4):02}"
        segments.append(
            TranscriptSegment(
                index=index, start_s=at_s, end_s=end_s, speaker_label=label, text=text, confidence=None, words=()
            )
        )
        at_s = end_s + random.uniform(0.1, 1.5)
    return tuple(segments), tuple(topic for topic, _ in said)
