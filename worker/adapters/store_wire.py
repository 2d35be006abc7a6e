"""
How values travel between a worker and the SQL functions, whichever transport carries them.

Words are compact arrays, `[text, start_s, end_s, confidence]`: a third of the bytes of objects, and a meeting has ten
thousand of them. Fields that a newer database adds to an answer are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from worker.models import (
    BeatAnswer,
    Claim,
    ClaimAnswer,
    Decision,
    FleetStatus,
    HeartbeatAnswer,
    KnownSpeaker,
    KnownSpeakers,
    Meeting,
    MeetingDetail,
    MeetingSpeaker,
    MeetingStatus,
    MeetingSummary,
    Person,
    ProcessingResult,
    Registration,
    ResultWarning,
    TranscriptSegment,
    Trouble,
    WorkerInfo,
    WorkerState,
    WriteAnswer,
)

Json = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)

UNKNOWN_AT = datetime.fromtimestamp(0, UTC)
"""For `infinity`, which a moment in the database may be."""


def known_fields(model: type[Model], row: Mapping[str, Any]) -> Model:
    """Read `row` as `model`, leaving out what this version does not know."""
    return model.model_validate({name: row[name] for name in model.model_fields if name in row})


# --- to the database ---------------------------------------------------------------------------------------------


def storable(value: Any) -> Any:
    """`value` with text that Postgres can hold: no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:
            return value  # most words, and no copy of them
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, float) and not isfinite(value):  # NaN and infinity have no place in JSON
        return None
    return value


def result_payload(result: ProcessingResult) -> Json:
    """What worker_complete_v2 takes. The language that was heard stands in `result`: the column is the wish."""
    payload = _storable_object(result.model_dump(mode="json", exclude={"segments"}))
    payload["result"] = {"language": payload.pop("language"), **payload["result"]}
    payload["num_segments"] = len(result.segments)
    # one by one, so that the words of ten hours are not there twice
    payload["segments"] = [_storable_object(_segment_payload(segment)) for segment in result.segments]
    return payload


def _segment_payload(segment: TranscriptSegment) -> Json:
    payload = segment.model_dump(mode="json", exclude={"words"})
    payload["words"] = [[word.text, word.start_s, word.end_s, word.confidence] for word in segment.words]
    return payload


def worker_payload(worker: WorkerInfo, schema: list[str]) -> Json:
    """What worker_register_v1 takes; `schema` names the migrations this version knows."""
    payload = worker.model_dump(mode="json", include={"name", "version", "system"})
    return _storable_object({**payload, "schema": schema})


def _storable_object(payload: Json) -> Json:
    cleaned = storable(payload)
    assert isinstance(cleaned, dict)
    return cleaned


# --- from the database -------------------------------------------------------------------------------------------


def registration(answer: Json) -> Registration:
    return known_fields(Registration, answer)


def claim_answer(answer: Json) -> ClaimAnswer:
    claim = answer.get("claim")
    if claim is not None:
        claim = known_fields(Claim, {**claim, "meeting": meeting(claim["meeting"])})
    return known_fields(ClaimAnswer, {**answer, "claim": claim})


def heartbeat_answer(answer: Json) -> HeartbeatAnswer:
    jobs = tuple(known_fields(BeatAnswer, job) for job in answer["jobs"])
    return known_fields(HeartbeatAnswer, {**answer, "jobs": jobs, "registered": answer["outcome"] != "unregistered"})


def write_answer(answer: Json) -> WriteAnswer:
    known = answer.get("known")
    return known_fields(WriteAnswer, {**answer, "known": None if known is None else known_speakers(known)})


def fleet_status(answer: Json) -> FleetStatus:
    workers = tuple(_worker_state(worker) for worker in answer["workers"])
    return known_fields(FleetStatus, {**answer, "workers": workers})


def _worker_state(row: Json) -> WorkerState:
    troubles = tuple(known_fields(Trouble, trouble) for trouble in row["troubles"])
    return known_fields(WorkerState, {**row, "troubles": troubles})


def known_speakers(answer: Json) -> KnownSpeakers:
    speakers = tuple(known_fields(KnownSpeaker, speaker) for speaker in answer["speakers"])
    return KnownSpeakers(version=answer["version"], speakers=speakers)


def people(answer: Json) -> tuple[Person, ...]:
    return tuple(known_fields(Person, person) for person in answer["speakers"])


def decisions(answer: Json) -> tuple[Decision, ...]:
    return tuple(known_fields(Decision, decision) for decision in answer["decisions"])


def words(answer: Json) -> tuple[str, ...]:
    return tuple(answer["words"])


def guidance(answer: Json) -> str | None:
    text = answer["text"]
    return None if text is None else str(text)


def statuses(answer: Json) -> dict[UUID, MeetingStatus]:
    return {UUID(meeting_id): MeetingStatus(status) for meeting_id, status in answer["statuses"].items()}


def meeting(row: Json) -> Meeting:
    """
    Without what nobody can read. People may write anything into a worker's columns, and a claim that failed for that
    would end one worker after the other.
    """
    try:
        return known_fields(Meeting, row)
    except ValidationError as error:
        unreadable = {str(problem["loc"][0]) for problem in error.errors()}
    kept = {name: value for name, value in row.items() if name not in unreadable}
    if "warnings" in unreadable:
        kept["warnings"] = [warning for warning in row["warnings"] if _is_warning(warning)]
    moments = dict.fromkeys(unreadable & {"created_at", "updated_at"}, UNKNOWN_AT)
    return known_fields(Meeting, kept | moments)


def _is_warning(value: object) -> bool:
    try:
        ResultWarning.model_validate(value)
    except ValidationError:
        return False
    return True


def meeting_detail(row: Json) -> MeetingDetail:
    """From one object {meeting, segments, speakers, summary}, each a row or a list of rows."""
    summary = row["summary"]
    return MeetingDetail(
        meeting=meeting(row["meeting"]),
        segments=tuple(_segment(segment) for segment in row["segments"]),
        speakers=tuple(known_fields(MeetingSpeaker, speaker) for speaker in row["speakers"]),
        summary=None if summary is None else _summary(summary),
    )


def _summary(row: Json) -> MeetingSummary:
    return known_fields(MeetingSummary, {**row, "is_edited": row["edited_at"] is not None})


def _segment(row: Json) -> TranscriptSegment:
    names = ("text", "start_s", "end_s", "confidence")
    words = [dict(zip(names, word, strict=True)) for word in row["words"]]
    return known_fields(TranscriptSegment, {**row, "index": row["segment_index"], "words": words})
