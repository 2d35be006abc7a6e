"""How things look on a terminal: from values to rich renderables. Prints nothing itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.models import (
    FleetStatus,
    Meeting,
    MeetingDetail,
    MeetingStatus,
    MeetingSummary,
    SpeakingShare,
    Stage,
    SummaryItem,
    WorkerState,
    WorkInProgress,
)
from worker.scores import Scores
from worker.terminal import harmless, line

if TYPE_CHECKING:
    from worker.app_doctor_check import Check

COLOURS = {
    MeetingStatus.PENDING: "yellow",
    MeetingStatus.PROCESSING: "cyan",
    MeetingStatus.COMPLETED: "green",
    MeetingStatus.FAILED: "red",
    MeetingStatus.CANCELLED: "magenta",
}
CHECK_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
VOICES = ("cyan", "green", "yellow", "magenta", "blue", "red")


def clock_time(seconds: float) -> str:
    """65.2 -> 1:05, 3725.0 -> 1:02:05; a row may also hold `Infinity`"""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(seconds: float) -> str:
    """A span of time in the largest unit that fits: 40 s, 12 min, 3 h, 2 d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def meetings_table(meetings: Iterable[Meeting]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "title", "status", "stage", "length", "worker", "error"):
        # an id that is broken over two lines cannot be copied
        table.add_column(heading, overflow="ellipsis", no_wrap=heading in ("id", "status", "error"))
    for meeting in meetings:
        table.add_row(
            str(meeting.id),
            line(meeting.title),
            Text(meeting.status, style=COLOURS[meeting.status]),
            _stage(meeting.stage, meeting.progress),
            clock_time(meeting.duration_s) if meeting.duration_s is not None else "",
            line(meeting.processed_by),
            line(meeting.error_code),
        )
    return table


def checks(found: Iterable[Check]) -> Table:
    """What the doctor found, one line each."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for check in found:
        table.add_row(Text(check.state, style=CHECK_COLOURS[check.state]), Text(check.name), line(check.sentence))
    return table


def _stage(stage: str | None, progress: float | None) -> str:
    if stage is None:
        return ""
    stage = harmless(stage, kept="")
    return stage if progress is None else f"{stage} {progress:.0%}"


def fleet(status: FleetStatus) -> RenderableType:
    """The queue in one line, then each worker and what it is doing."""
    counts = Text("  ").join(
        Text(f"{status.counts.get(kind, 0)} {kind}", style=COLOURS[kind]) for kind in MeetingStatus
    )
    parts: list[RenderableType] = [counts]
    if status.oldest_pending_s is not None:
        parts.append(Text(f"The oldest pending meeting has waited {ago(status.oldest_pending_s)}."))
    if not status.workers:
        parts.append(Text("No worker has ever registered. Start one with `python -m worker run`.", style="yellow"))
        return Group(*parts)
    return Group(*parts, Text(), _workers_table(status.workers), *_troubles(status.workers))


def _workers_table(workers: Iterable[WorkerState]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("worker", "host", "version", "GPU", "state", "last seen", "doing"):
        table.add_column(heading)
    for worker in workers:
        state = _worker_state(worker)
        table.add_row(
            line(worker.worker_id),
            line(worker.hostname),
            line(worker.version),
            Text("\n".join(filter(None, (worker.gpu, worker.driver and f"driver {worker.driver}"))) or "-"),
            Text(state, style="green" if state == "alive" else "yellow"),
            f"{ago(worker.last_seen_s)} ago",
            Text("\n".join(_work_in_words(work) for work in worker.meetings) or "-"),
        )
    return table


def _worker_state(worker: WorkerState) -> str:
    if not worker.alive:
        return "not seen, drained" if worker.draining else "not seen"
    if worker.draining:
        return "draining" if worker.meetings else "drained"
    return "in trouble" if worker.troubles else "alive"


def _work_in_words(work: WorkInProgress) -> str:
    title = harmless(work.title or str(work.meeting_id), kept="")
    return f"{title} - {_stage(work.stage, work.progress)} (for {ago(work.running_s)})"


def _troubles(workers: Iterable[WorkerState]) -> Iterator[RenderableType]:
    """What each worker that is alive says of itself: the last words of one that is gone are news no more."""
    for worker in workers:
        for trouble in worker.troubles if worker.alive else ():
            yield Text()
            yield line(f"{worker.worker_id}: {trouble.sentence} [{trouble.code}]", "yellow")


def detail(found: MeetingDetail) -> RenderableType:
    """Everything about one meeting: status, warnings, transcript, summary, seconds per stage."""
    meeting = found.meeting
    parts: list[RenderableType] = [_headline(meeting)]
    if meeting.error_message:
        parts.append(line(f"{meeting.error_message} [{meeting.error_code}]", "red"))
    parts += [line(f"Warning: {w.message} [{w.code}]", "yellow") for w in meeting.warnings]
    if found.segments:
        parts += [Text(), Text("Transcript", style="bold"), transcript(found)]
    parts += _suggestions(found)
    if meeting.result and meeting.result.get("speaking"):
        shares = [SpeakingShare.model_validate(share) for share in meeting.result["speaking"]]
        parts += [Text(), speaking(shares, _names(found))]
    if found.summary is not None:
        parts += [Text(), summary(found.summary, _names(found))]
    if meeting.result and meeting.result.get("stage_seconds"):
        parts += [Text(), stage_seconds(meeting.result["stage_seconds"])]
    return Group(*parts)


def _headline(meeting: Meeting) -> Text:
    title, status = line(meeting.title or "(no title)", "bold"), (meeting.status, COLOURS[meeting.status])
    head = Text.assemble(title, "  ", status, f"  {meeting.id}")
    if meeting.status is MeetingStatus.PROCESSING:
        head.append(f"  {_stage(meeting.stage, meeting.progress)}")
    if meeting.duration_s is not None:
        head.append(f"  {clock_time(meeting.duration_s)}")
    return head


def transcript(found: MeetingDetail) -> Table:
    names = _names(found)
    colours = {label: VOICES[i % len(VOICES)] for i, label in enumerate(names)}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for segment in found.segments:
        label = segment.speaker_label or ""
        table.add_row(
            f"{clock_time(segment.start_s)} - {clock_time(segment.end_s)}",
            line(names.get(label, label), colours.get(label, "")),
            Text(segment.text),
        )
    return table


def _names(found: MeetingDetail) -> dict[str, str]:
    return {speaker.label: speaker.name or speaker.label for speaker in found.speakers}


def _suggestions(found: MeetingDetail) -> Iterator[RenderableType]:
    """Whom a voice may belong to, and what to say to that."""
    for voice in found.speakers:
        if voice.suggested_id is not None:
            who = voice.suggested_name or f"the speaker {voice.suggested_id}"
            name, command = f"{voice.label} may be {who}", f"{found.meeting.id} {voice.label}"
            yield Text()
            sentence = f"{name}. If so: `python -m worker speakers confirm {command}`; if not: `reject`."
            yield line(sentence, "yellow")


def speaking(shares: Iterable[SpeakingShare], names: Mapping[str, str]) -> RenderableType:
    """How each voice took part, who spoke most first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "share", "time", "turns", "longest", "interrupts", "asks"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for share in sorted(shares, key=lambda share: -share.speech_s):
        table.add_row(
            line(names.get(share.label or "", share.label or "all")),
            f"{share.share:.0%}",
            clock_time(share.speech_s),
            str(share.num_turns),
            clock_time(share.longest_turn_s),
            str(share.num_interruptions),
            str(share.num_questions),
        )
    return Group(Text("Who spoke", style="bold"), Padding(table, (0, 2)))


def summary(value: MeetingSummary, names: Mapping[str, str]) -> RenderableType:
    """`names`: of the labels, as people know them."""
    made = "sentences picked from the transcript" if value.method == "extractive" else f"written by {value.model}"
    made += ", corrected by hand" if value.is_edited else ""
    parts: list[RenderableType] = [
        Text.assemble(("Summary", "bold"), (f" ({made})", "dim")),
        Padding(Text(value.overview), (0, 2)),
    ]
    sections = {
        "Key points": value.key_points,
        "Decisions": value.decisions,
        "Action items": value.action_items,
        "Open questions": value.open_questions,
        "Topics": value.topics,
    }
    for heading, items in sections.items():
        if items:
            parts += [Text(heading, style="bold"), *_items(items, names)]
    return Group(*parts)


def _items(items: Iterable[SummaryItem], names: Mapping[str, str]) -> Iterator[RenderableType]:
    for item in items:
        start = f"{clock_time(item.start_s)}  " if item.start_s is not None else ""
        owner = names.get(item.owner, item.owner) if item.owner else None
        who_and_when = f"  ({', '.join(filter(None, (owner, item.due)))})" if owner or item.due else ""
        yield Padding(line(f"- {start}{item.text}{who_and_when}"), (0, 2))


def stage_seconds(seconds: dict[str, float]) -> Text:
    known = [stage for stage in Stage if stage in seconds]
    return Text("Seconds per stage: " + "  ".join(f"{stage} {seconds[stage]:.1f}" for stage in known), style="dim")


def scores(value: Scores) -> Text:
    """What `make demo` reached on its sample."""
    wer = "unknown" if value.wer is None else f"{value.wer:.1%}"
    der = "unknown" if value.der is None else f"{value.der:.1%}"
    return Text(
        f"Against the reference: word error rate {wer}, diarization error rate {der} (collar 0, overlap counted); "
        f"{value.num_speakers} speakers found, {value.num_reference_speakers} in the reference.",
        style="bold",
    )
