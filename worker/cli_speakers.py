"""`python -m worker speakers`: who is who, across meetings; every decision can be undone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from worker.cli_shared import EXIT_FAILED, AsJson, console, print_json, refuse, with_store

if TYPE_CHECKING:
    from worker.config import Settings
    from worker.ledger_port import Ledger
    from worker.models import Person, WriteAnswer
    from worker.ports import Store

speakers = typer.Typer(
    help="People and their voices: who is who in the lab's meetings, or with --user in those of one user.",
    no_args_is_help=True,
)

MIN_ID_LENGTH = 4
"""So many characters of an id are taken for its beginning; fewer are rather a name that was mistyped."""

Speaker = Annotated[
    str, typer.Argument(metavar="SPEAKER", help="Name, id or beginning of an id, as `speakers list` shows them.")
]
MeetingId = Annotated[UUID, typer.Argument(metavar="MEETING", help="The meeting's id, as `list` shows it.")]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="The voice, as `show` names it, such as SPEAKER_01.")]
User = Annotated[UUID | None, typer.Option(help="Id of the user whose speakers are meant; the lab's if not given.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask first.")]


@speakers.command("list")
def list_speakers(user: User = None, as_json: AsJson = False) -> None:
    """Show the people: those with a name by name, then the others, last heard first."""
    from worker import views_people

    people = with_store(lambda _, store: store.people(user))
    if as_json:
        print_json({"speakers": [person.model_dump(mode="json") for person in people]})
    elif people:
        console().print(views_people.people_table(people))
    else:
        console(stderr=True).print("No speakers yet. Whoever speaks in a completed meeting becomes one.")


@speakers.command()
def history(
    user: User = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show what was decided, by workers and by people, newest first, with the number to undo it by."""
    from worker import views_people

    async def read(store: Ledger) -> None:
        decisions = await store.decisions(user, limit=limit)
        if as_json:
            print_json({"decisions": [decision.model_dump(mode="json") for decision in decisions]})
        elif decisions:
            console().print(views_people.history(decisions, await store.people(user)))
        else:
            console(stderr=True).print("Nothing has been decided yet.")

    with_store(lambda _, store: read(store))


@speakers.command()
def name(
    speaker: Speaker,
    new_name: Annotated[str, typer.Argument(metavar="NAME", help='Who it is; "" takes the name away.')],
    user: User = None,
) -> None:
    """Give a speaker a name: in all meetings, past and coming."""

    async def work(store: Ledger) -> None:
        speaker_id = await speaker_named(store, speaker, user)
        wanted = new_name.strip()
        answer = await store.name_speaker(speaker_id, wanted or None)
        tell(answer, f"Named {wanted}." if wanted else "The name is taken away.", "That is the name already.")
        if wanted:
            tell_namesakes(await store.people(user), speaker_id, wanted)

    with_store(lambda _, store: work(store))


@speakers.command()
def merge(
    speaker: Speaker,
    into: Annotated[str, typer.Argument(metavar="INTO", help="Who that is; this one's name stays.")],
    user: User = None,
) -> None:
    """Two speakers are one person."""

    async def work(store: Ledger) -> None:
        speaker_id, into_id = await speaker_named(store, speaker, user), await speaker_named(store, into, user)
        answer = await store.merge_speakers(speaker_id, into_id)
        tell(answer, "They are one person now.", "They are one person already.")

    with_store(lambda _, store: work(store))


@speakers.command()
def split(meeting: MeetingId, label: Label) -> None:
    """A voice of a meeting is somebody else: it becomes a speaker of its own."""
    answer = with_store(lambda _, store: store.split_voice(meeting, label))
    tell(answer, f"{label} is a speaker of its own now.", f"{label} is alone with its speaker already.")
    if answer.speaker_id is not None:
        _say(f"To name it: `python -m worker speakers name {answer.speaker_id} NAME`.")


@speakers.command()
def confirm(
    meeting: MeetingId,
    label: Label,
    speaker: Annotated[
        str | None,
        typer.Argument(metavar="[SPEAKER]", help="Whose voice it is; if not given, whom the worker takes it for."),
    ] = None,
    user: User = None,
) -> None:
    """A voice of a meeting is this speaker's."""

    async def work(store: Ledger) -> None:
        speaker_id = None if speaker is None else await speaker_named(store, speaker, user)
        answer = await store.confirm_voice(meeting, label, speaker_id)
        people = {person.id: person for person in await store.people(user)}
        person = None if answer.speaker_id is None else people.get(answer.speaker_id)
        who = person.name if person and person.name else "that speaker"
        tell(answer, f"{label} is {who}.", "That is confirmed already.")

    with_store(lambda _, store: work(store))


@speakers.command()
def reject(meeting: MeetingId, label: Label) -> None:
    """A voice of a meeting is not whom the worker took it for, or suggested."""
    answer = with_store(lambda _, store: store.reject_voice(meeting, label))
    tell(answer, f"{label} is somebody else.", "That is rejected already.")


@speakers.command()
def undo(number: Annotated[int, typer.Argument(metavar="NUMBER", help="As `speakers history` shows it.")]) -> None:
    """Take a decision back: everything is then as if it had never been made."""
    answer = with_store(lambda _, store: store.undo_decision(number))
    if answer.outcome == "gone":
        refuse(f"There is no decision {number}. `python -m worker speakers history` shows those there are.")
    tell(answer.model_copy(update={"decision_id": None}), "Taken back.", "That was taken back already.")


@speakers.command()
def forget(speaker: Speaker, user: User = None, yes: Yes = False) -> None:
    """Erase what is kept of a voice. Transcripts and names stay. This cannot be undone."""
    question = "Erase all voiceprints of {}? They do not come back."
    _erase(speaker, user, yes, question, "The voice is erased.", lambda store, who: store.forget_speaker(who))


@speakers.command("opt-out")
def opt_out(speaker: Speaker, user: User = None, yes: Yes = False) -> None:
    """Erase what is kept of a voice, and keep nothing of it from now on."""
    question = "Erase all voiceprints of {}, and keep none from now on? Those there are do not come back."
    done = "The voice is erased, and none is kept from now on."
    _erase(speaker, user, yes, question, done, lambda store, who: store.keep_voice(who, kept=False))


@speakers.command("opt-in")
def opt_in(speaker: Speaker, user: User = None) -> None:
    """Take an opt-out back: the voice is kept again from the next meeting on."""

    async def work(store: Ledger) -> None:
        answer = await store.keep_voice(await speaker_named(store, speaker, user), kept=True)
        tell(answer, "The voice is kept again from the next meeting on.", "The voice is kept already.")

    with_store(lambda _, store: work(store))


@speakers.command()
def refresh(
    meetings: Annotated[
        list[UUID] | None,
        typer.Argument(metavar="[MEETING]...", help="Ids of completed meetings, as `list` shows them."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All meetings whose voices were described by an earlier model only.")
    ] = False,
) -> None:
    """Describe voices anew from their recordings, so that a new model knows the people too."""
    from worker import app_revoicing

    if bool(meetings) == every:
        raise typer.BadParameter("Name meetings, or say --all.")

    async def work(settings: Settings, store: Store) -> bool:
        is_well = True
        async for one in app_revoicing.revoiced(settings, store, None if every else meetings):
            is_well &= one.outcome in ("done", "already_done")
            said = {"done": "described anew.", "already_done": "nothing to add."}.get(one.outcome)
            _say(f"{one.title or one.meeting_id}: {said or one.message or one.outcome}")
        return is_well

    if not with_store(work):
        raise typer.Exit(EXIT_FAILED)
    _say("That is all.")


def _erase(
    speaker: str,
    user: UUID | None,
    is_sure: bool,
    question: str,
    done: str,
    act: Callable[[Ledger, UUID], Awaitable[WriteAnswer]],
) -> None:
    async def work(store: Ledger) -> None:
        speaker_id = await speaker_named(store, speaker, user)
        if not is_sure and not typer.confirm(question.format(f"{speaker} ({speaker_id})"), err=True):
            _say("Nothing is erased.")
            raise typer.Exit(EXIT_FAILED)
        answer = await act(store, speaker_id)
        tell(answer.model_copy(update={"decision_id": None}), done, "That is so already.")

    with_store(lambda _, store: work(store))


# --- who is meant ------------------------------------------------------------------------------------------------


async def speaker_named(store: Ledger, text: str, user_id: UUID | None) -> UUID:
    """Whom a name, an id, or the beginning of one means; ends the command with a sentence if not one speaker."""
    try:
        return UUID(text)
    except ValueError:
        found = meant(text, await store.people(user_id))
    if not found:
        refuse(
            f"There is no speaker {text}. `python -m worker speakers list` shows those there are; those of a user with "
            "--user ID."
        )
    if len(found) > 1:
        lines = "\n".join(f"  {person.id}  {person.name or '(no name)'}" for person in found)
        refuse(f"{text} may be one of these; say which by its id:\n{lines}")
    return found[0].id


def meant(text: str, people: Sequence[Person]) -> list[Person]:
    """All who bear this name, or whose id begins like this: both, so that neither is mistaken for the other."""
    begins = text.lower() if len(text) >= MIN_ID_LENGTH else None
    return [
        person for person in people if person.name == text or (begins is not None and str(person.id).startswith(begins))
    ]


# --- what came of it ---------------------------------------------------------------------------------------------


def tell(answer: WriteAnswer, done: str, already: str) -> None:
    """The outcome as a sentence, with how to take it back; ends the command with exit code 1 if nothing came of it."""
    if answer.outcome == "done":
        back = f" To take that back: `python -m worker speakers undo {answer.decision_id}`."
        _say(done + (back if answer.decision_id is not None else ""))
    elif answer.outcome == "already_done":
        _say(answer.message or already)
    elif answer.outcome == "gone":
        refuse(
            f"{answer.message or 'There is no such speaker or voice.'} `speakers list` and `show` say which there are."
        )
    else:
        refuse(answer.message or f"That is not possible: {answer.outcome}.")


def tell_namesakes(people: Sequence[Person], speaker_id: UUID, name: str) -> None:
    bearers = [person for person in people if person.name is not None and person.name.casefold() == name.casefold()]
    for other in bearers:
        if other.id != speaker_id and len(bearers) > 1:
            _say(
                f"Another speaker is called {other.name}. If they are one person: "
                f"`python -m worker speakers merge {other.id} {speaker_id}`."
            )


def _say(sentence: str) -> None:
    console(stderr=True).print(sentence)
