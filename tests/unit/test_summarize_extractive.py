"""A summary by quotation invents nothing, finds what a meeting is about, and copes with any transcript."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.models import MeetingSummary, SummaryItem, TranscriptSegment, Word
from worker.ports import Summarizer
from worker.summarize.extractive import NOTHING_SAID, ExtractiveSummarizer
from worker.summarize.units import MAX_UNIT_WORDS, terms_of, units_of

GREENHOUSE = [
    ("SPEAKER_00", "Good morning everybody."),
    (
        "SPEAKER_00",
        "The greenhouse sensors failed twice last week. The tomato seedlings in the greenhouse got too warm.",
    ),
    (
        "SPEAKER_01",
        "The sensors report humidity, but the temperature of the greenhouse is measured by the old thermostat.",
    ),
    ("SPEAKER_00", "So the thermostat is the weak point of the greenhouse."),
    ("SPEAKER_01", "Which thermostat could replace the broken sensors before summer?"),
    ("SPEAKER_02", "We agreed to buy a new thermostat for the greenhouse."),
    ("SPEAKER_01", "I'll order the thermostat by Friday."),
    ("SPEAKER_00", "Right?"),
    ("SPEAKER_02", "Yeah."),
]
BUDGET = [
    (
        "SPEAKER_00",
        "Now the travel budget. The conference in Lisbon costs more than the budget of the department allows.",
    ),
    ("SPEAKER_02", "Flights to Lisbon are expensive in July, and hotels near the conference are fully booked."),
    ("SPEAKER_01", "If we share hotels and take the train, the conference fits the travel budget."),
    ("SPEAKER_00", "The department pays flights only for people who present at the conference in Lisbon."),
    ("SPEAKER_02", "Presenters get flights and hotels, the others stay within the travel budget of the department."),
    ("SPEAKER_01", "The Lisbon hotels want the money before the conference."),
    ("SPEAKER_00", "Then the travel budget for Lisbon is settled with the department."),
]


def spoken(
    lines: list[tuple[str, str]], *, start_s: float = 0.0, first_index: int = 0
) -> tuple[TranscriptSegment, ...]:
    """A segment per line, a word each half second, half a second between segments."""
    segments = []
    for index, (label, text) in enumerate(lines, first_index):
        words = tuple(
            Word(text=t, start_s=start_s + i / 2, end_s=start_s + (i + 1) / 2) for i, t in enumerate(text.split())
        )
        segments.append(segment(index, text, words, label))
        start_s = segments[-1].end_s + 0.5
    return tuple(segments)


def segment(index: int, text: str, words: tuple[Word, ...], label: str | None = None) -> TranscriptSegment:
    start_s, end_s = (words[0].start_s, words[-1].end_s) if words else (float(index), index + 1.0)
    return TranscriptSegment(
        index=index, start_s=start_s, end_s=end_s, speaker_label=label, text=text, confidence=None, words=words
    )


def summary_of(segments: tuple[TranscriptSegment, ...], language: str | None = "en") -> MeetingSummary:
    summarizer: Summarizer = ExtractiveSummarizer()
    return summarizer.summarize(segments, language=language, report=lambda progress: None)


def quotations(summary: MeetingSummary) -> list[SummaryItem]:
    return [*summary.key_points, *summary.decisions, *summary.action_items, *summary.open_questions]


def texts(items: tuple[SummaryItem, ...]) -> list[str]:
    return [item.text for item in items]


# --- what is found -----------------------------------------------------------------------------------------------


def test_key_points_are_about_what_is_talked_about_most() -> None:
    points = summary_of(spoken(GREENHOUSE)).key_points
    assert points
    assert all("thermostat" in p.text or "greenhouse" in p.text or "sensors" in p.text for p in points)


def test_an_item_says_where_it_was_said() -> None:
    """The second sentence of segment 1 begins with its eighth word, half a second each."""
    assert [(u.text, u.segment, u.start_s) for u in units_of(spoken(GREENHOUSE[1:2]))] == [
        ("The greenhouse sensors failed twice last week.", 0, 0.0),
        ("The tomato seedlings in the greenhouse got too warm.", 0, 3.5),
    ]
    segments = spoken(GREENHOUSE)
    for item in quotations(summary_of(segments)):
        (index,) = item.segments
        assert item.text in segments[index].text
        assert item.start_s in [word.start_s for word in segments[index].words]


def test_the_overview_is_made_of_key_points_and_so_is_cited() -> None:
    summary = summary_of(spoken(GREENHOUSE + BUDGET))
    assert sum(point.text in summary.overview for point in summary.key_points) in (2, 3)


def test_the_overview_is_short_even_where_sentences_are_long() -> None:
    long = [
        ("A", " ".join(f"{noun}{i}" for i in range(30)) + " greenhouse.") for noun in ("soil", "seed", "frost", "rain")
    ] * 3
    overview = summary_of(spoken(long)).overview
    assert 31 <= len(overview.split()) <= 70


def test_decisions_tasks_and_questions_need_plain_signs() -> None:
    summary = summary_of(spoken(GREENHOUSE))
    assert texts(summary.decisions) == ["We agreed to buy a new thermostat for the greenhouse."]
    (task,) = summary.action_items
    assert (task.text, task.segments) == ("I'll order the thermostat by Friday.", (6,))
    assert (task.owner, task.due) == ("SPEAKER_01", "by Friday")
    assert texts(summary.open_questions) == ["Which thermostat could replace the broken sensors before summer?"]


@pytest.mark.parametrize(
    "text",
    [
        "We haven't decided about the thermostat yet.",
        "If we decided to replace the thermostat it would cost money.",
        "Have we agreed to replace the thermostat in the greenhouse?",
    ],
)
def test_what_was_not_decided_is_no_decision(text: str) -> None:
    assert summary_of(spoken([("SPEAKER_00", text)])).decisions == ()


def test_a_request_is_a_task_without_an_owner() -> None:
    """Who was asked cannot be told from the words."""
    summary = summary_of(spoken([("SPEAKER_00", "Can you send the thermostat invoice tomorrow?")]))
    (task,) = summary.action_items
    assert (task.owner, task.due) == (None, "tomorrow")
    assert summary.open_questions == ()


def test_german_signs_are_known_too() -> None:
    lines = [
        ("A", "Wir haben gestern endlich beschlossen, das Gewächshaus zu heizen."),
        ("B", "Ich schicke bis Freitag ein Angebot."),
    ]
    summary = summary_of(spoken(lines), "de")
    assert texts(summary.decisions) == [lines[0][1]]
    assert [(task.owner, task.due) for task in summary.action_items] == [("B", "bis Freitag")]


def test_topics_change_where_the_words_change_and_are_named_by_them() -> None:
    greenhouse = spoken(GREENHOUSE * 4)
    budget = spoken(BUDGET * 4, start_s=greenhouse[-1].end_s + 1.0, first_index=len(greenhouse))
    first, *others = summary_of(greenhouse + budget).topics
    assert first.start_s == 0.0
    assert {"thermostat", "greenhouse"} <= set(first.text.split(", "))
    lisbon = [topic for topic in others if "Lisbon" in topic.text or "budget" in topic.text]
    assert lisbon[0].start_s == pytest.approx(budget[0].start_s, abs=30.0)
    assert all(index >= len(greenhouse) - 4 for topic in lisbon for index in topic.segments)


def test_a_short_meeting_is_one_topic() -> None:
    assert len(summary_of(spoken(GREENHOUSE)).topics) == 1


def test_where_no_word_is_repeated_the_longest_of_the_best_sentence_name_the_topic() -> None:
    lines = [("A", "extraordinary bed"), ("B", "Sheila came from Chicago by helicopter"), ("A", "Chicago has sun")]
    topic_terms = summary_of(spoken(lines)).topics[0].text
    assert topic_terms == "Chicago, helicopter, Sheila"


def test_singular_and_plural_name_a_topic_once() -> None:
    lines = [("A", "The sensors and the sensor."), ("B", "A sensor among sensors needs power.")]
    names = summary_of(spoken(lines)).topics[0].text.split(", ")
    assert len([name for name in names if name.startswith("sensor")]) == 1


def test_key_points_come_from_every_topic() -> None:
    """The sentences of the second topic are so short that each is worth less than the second best of the first."""
    greenhouse = spoken(GREENHOUSE * 10)
    lisbon = [("A", f"Lisbon, hotel{i}.") for i in range(100)]
    second = spoken(lisbon, start_s=greenhouse[-1].end_s + 1.0, first_index=len(greenhouse))
    summary = ExtractiveSummarizer(max_key_points=2, max_topics=2).summarize(
        greenhouse + second, language="en", report=lambda progress: None
    )
    assert len(summary.topics) == 2
    cited = [point.segments[0] for point in summary.key_points]
    assert cited[0] < len(greenhouse) <= cited[1]


def test_what_is_said_twice_is_a_key_point_once() -> None:
    points = texts(summary_of(spoken(GREENHOUSE * 10)).key_points)
    assert len(points) == len(set(points))


# --- any transcript ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments", [(), (segment(0, "", ()),), (segment(0, "  ", ()),)])
def test_silence_has_a_summary_that_says_so(segments: tuple[TranscriptSegment, ...]) -> None:
    assert summary_of(segments) == MeetingSummary(overview=NOTHING_SAID, method="extractive")


@pytest.mark.parametrize(("text", "overview"), [("Thermostat", "Thermostat …"), ("Yeah.", "Yeah."), ("...", "...")])
def test_one_word_is_its_own_overview(text: str, overview: str) -> None:
    assert summary_of(spoken([("SPEAKER_00", text)])).overview == overview


def test_text_without_punctuation_is_quoted_in_stretches_between_pauses() -> None:
    """As PocketSphinx writes: 90 words, one long pause after the thirtieth."""
    before = [Word(text=f"alpha{i}", start_s=i / 3, end_s=(i + 1) / 3) for i in range(30)]
    after = [Word(text=f"beta{i}", start_s=11 + i / 3, end_s=11 + (i + 1) / 3) for i in range(60)]
    words = (*before, *after)
    units = units_of((segment(0, " ".join(w.text for w in words), words),))
    assert len(units[0].text.split()) == 30
    assert all(len(unit.text.split()) <= MAX_UNIT_WORDS for unit in units)
    assert " ".join(unit.text for unit in units) == " ".join(w.text for w in words)


def test_a_text_corrected_by_hand_is_quoted_as_it_stands() -> None:
    """Its words no longer match, or are no longer all; times are then those of the segment."""
    words = tuple(
        Word(text=t, start_s=3.0 + i, end_s=4.0 + i)
        for i, t in enumerate(["It", "failed.", "The", "termostat", "did."])
    )
    for corrected in (
        "It failed. The thermostat did.",
        "It failed. The old termostat did.",
        "It failed. The termostat did. Twice.",
    ):
        units = units_of((segment(4, corrected, words),))
        assert " ".join(unit.text for unit in units) == corrected
        assert {(unit.segment, unit.start_s) for unit in units} == {(4, 3.0)}


@pytest.mark.parametrize(
    ("text", "num_units"),
    [
        ("Dr. Miller met Prof. Chen. They talked.", 2),
        ("Am 3. Mai kommt J. Miller.", 1),
        ('Really?! He said "no." Yes.', 3),
        ("We sold 300. Good.", 2),
    ],
)
def test_sentences_end_at_full_stops_but_not_at_titles_and_ordinals(text: str, num_units: int) -> None:
    assert len(units_of(spoken([("A", text)]))) == num_units


@pytest.mark.parametrize(
    ("language", "text", "topic"),
    [
        (
            "de",
            "Das Gewächshaus ist zu warm. Wir heizen das Gewächshaus im Sommer nicht. Das Gewächshaus!",
            "Gewächshaus",
        ),
        ("fr", "La serre est trop chaude. Nous chauffons la serre. C'est la serre.", "serre"),
        ("ru", "Теплица слишком тёплая. Мы топим, теплица стоит. Теплица!", "Теплица"),
        ("hi", "ग्रीनहाउस बहुत गर्म है। हम ग्रीनहाउस देखते हैं। ग्रीनहाउस।", "ग्रीनहाउस"),
        ("ja", "温室が暑い。温室を見る。温室です。", "温室"),
        (None, "The greenhouse is warm. We heat the greenhouse. That greenhouse!", "greenhouse"),
        ("xx", "The greenhouse is warm. We heat our greenhouse. That greenhouse!", "greenhouse"),
        ("en-US", "The greenhouse is warm. We heat the greenhouse. That greenhouse!", "greenhouse"),
    ],
)
def test_any_language_has_topics_and_key_points(language: str | None, text: str, topic: str) -> None:
    summary = summary_of(spoken([("A", text)]), language)
    assert summary.key_points
    assert topic in summary.topics[0].text.split(", ")


def test_function_words_name_no_topic() -> None:
    """Neither by list, nor, in a language without one, by how often they occur."""
    listed = summary_of(spoken([("A", "you know I mean the thing is the greenhouse, you know, the the the")]), None)
    assert listed.topics[0].text == "greenhouse"
    lines = [("A", f"ka {noun} ka ka {noun} lo ka.") for noun in ["velo", "miru", "sato", "pino", "rade"] * 12]
    names = ", ".join(texts(summary_of(spoken(lines), "xx").topics)).split(", ")
    assert not {"ka", "lo"} & set(names)


def test_terms_keep_apostrophes_and_marks_and_drop_punctuation() -> None:
    assert terms_of("'Don't!' said O\u2019Neill, at 5pm (again).") == [
        "Don't",
        "said",
        "O\u2019Neill",
        "at",
        "5pm",
        "again",
    ]
    assert terms_of("温室です") == ["温室", "室で", "です"]


def test_progress_is_reported_to_the_end() -> None:
    seen: list[float] = []
    ExtractiveSummarizer().summarize(spoken(GREENHOUSE), language="en", report=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


LINES = st.lists(
    st.tuples(
        st.sampled_from(["SPEAKER_00", "SPEAKER_01"]),
        st.lists(
            st.sampled_from(
                ["the", "we", "greenhouse", "Lisbon?", "I'll", "send", "agreed.", "hotels", "你好", "?", "..."]
            ),
            max_size=60,
        ).map(" ".join)
        | st.text(max_size=40),
    ),
    max_size=12,
)


@given(lines=LINES, language=st.sampled_from([None, "en", "de", "xx"]), has_words=st.booleans())
def test_nothing_is_invented_and_nothing_crashes(
    lines: list[tuple[str, str]], language: str | None, has_words: bool
) -> None:
    """Each quotation stands in the segment it cites, word for word; each topic is made of terms that were said."""
    segments = tuple(s if has_words else s.model_copy(update={"words": ()}) for s in spoken_or_silent(lines))
    summary = summary_of(segments, language)
    for item in quotations(summary):
        (index,) = item.segments
        assert item.text
        assert item.text in segments[index].text
        assert segments[index].start_s <= (item.start_s or 0.0) <= segments[index].end_s
    said = " ".join(s.text for s in segments).casefold()
    assert all(name.casefold() in said for topic in summary.topics for name in topic.text.split(", "))
    assert summary.overview
    assert summary == summary_of(segments, language)


def spoken_or_silent(lines: list[tuple[str, str]]) -> tuple[TranscriptSegment, ...]:
    return tuple(
        spoken([line], start_s=10.0 * i, first_index=i)[0] if line[1].split() else segment(i, line[1], (), line[0])
        for i, line in enumerate(lines)
    )
