"""The meetings that were there before the worker: each gets the job that its status implies, or a word of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg

MAX_LISTED = 20

# A failed one gets a job as well, so that it can be retried. The oldest goes first (run_at); of rows that were inserted
# together the first (id). A time in the future would hold a meeting back. Nobody knows who works on a row in
# processing: it gets no job, so no worker touches it.
_JOBS = """
insert into pc_worker.jobs (meeting_id, state, priority, run_at)
select m.id, m.status, m.priority, least(m.created_at, pc_worker.now())
  from public.meetings m
 where m.status <> 'processing'
"""

_STUCK = """
select id::text || coalesce(' (' || left(title, 80) || ')', '') from public.meetings
 where status = 'processing' order by created_at, id
"""

_WITHOUT_AUDIO = """
select count(*) from public.meetings where status = 'pending' and audio_path is null and audio_url is null
"""

_FOREIGN_PATHS = """
select count(*) from public.meetings where status = 'pending' and pc_worker.is_path_refused(user_id, audio_path)
"""


def make_jobs(connection: psycopg.Connection) -> None:
    connection.execute(_JOBS)


def notes_on_rows(connection: psycopg.Connection, new_columns: list[str]) -> list[str]:
    """Sentences about meetings that will not go through as they are. `new_columns`: those that meetings lacked."""

    def number(query: LiteralString) -> int:
        row: tuple[Any, ...] | None = connection.execute(query).fetchone()
        return 0 if row is None else int(row[0])

    notes = _stuck([text for (text,) in connection.execute(_STUCK).fetchall()])
    if num := number(_WITHOUT_AUDIO):
        notes.append(
            f"{num} pending meetings have neither audio_path nor audio_url. They wait for an hour once a worker takes "
            "them, and then fail with audio_missing."
        )
    if num := number(_FOREIGN_PATHS):
        notes.append(
            f"{num} pending meetings have an audio_path outside their owner's folder and will fail with "
            "audio_path_refused. Move the recordings to <user_id>/... in the bucket meeting-audio and correct the path."
        )
    if "user_id" in new_columns and number("select count(*) from public.meetings"):
        notes.append(
            "public.meetings had no user_id: the meetings that are there belong to the lab, and signed-in users do not "
            "see them. To give them owners, set user_id from a column of yours."
        )
    return notes


def _stuck(meetings: list[str]) -> list[str]:
    if not meetings:
        return []
    shown = ", ".join(meetings[:MAX_LISTED]) + (
        f" and {len(meetings) - MAX_LISTED} more" * (len(meetings) > MAX_LISTED)
    )
    return [
        f"{len(meetings)} meetings were in processing and were left alone, because something else may be working on "
        f"them: {shown}. If nothing is, set their status to cancelled, then to pending."
    ]
