"""The people who use the fleet: they insert meetings, change their minds, and retry what was given up."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from tests.soak.database import Client
from tests.soak.plan import Fate, PlannedMeeting

POLL_S = 0.1
LOOKS_EVERY_S = 3.0


class User:
    """One thread. What was asked for is kept in the sets, before it is asked: the answer may get lost."""

    def __init__(self, dsn: str, recordings: Path, counts: Path, plan: Sequence[PlannedMeeting], began: float) -> None:
        self.inserted: set[UUID] = set()
        self.asked_to_cancel: set[UUID] = set()
        self.cancelled: set[UUID] = set()
        self.asked_to_delete: set[UUID] = set()
        self.num_poisoned = 0
        self._client = Client(dsn, "soak: user")
        self._recordings, self._counts, self._began = recordings, counts, began
        self._num_queued = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        for meeting in plan:
            self._at(meeting.at_s, lambda meeting=meeting: self._insert(meeting))  # type: ignore[misc]  # bound now
        self._at(LOOKS_EVERY_S, self._look)

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            at_s, _, action = self._queue[0]
            if (wait_s := at_s - self._now_s) > 0:
                stopping.wait(min(wait_s, POLL_S))
                continue
            heapq.heappop(self._queue)
            action()
        self._client.close()

    @property
    def is_done(self) -> bool:
        """Nothing left but looking whether something failed."""
        return len(self._queue) <= 1

    @property
    def _now_s(self) -> float:
        return time.monotonic() - self._began

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        self._num_queued += 1
        heapq.heappush(self._queue, (at_s, self._num_queued, action))

    def _insert(self, meeting: PlannedMeeting) -> None:
        if meeting.fate is not Fate.LATE_AUDIO:
            self._upload(meeting)
        self._client.rows(
            "insert into public.meetings (id, user_id, title, audio_path) values (%s, %s, %s, %s)"
            " on conflict (id) do nothing",
            meeting.id,
            meeting.owner,
            meeting.mark,
            meeting.audio_path,
        )
        self.inserted.add(meeting.id)
        later: dict[Fate, Callable[[PlannedMeeting], None]] = {
            Fate.LATE_AUDIO: self._upload,
            Fate.CANCELLED: self._cancel,
            Fate.DELETED: self._delete,
            Fate.RETRIED: self._retry_when_completed,
        }
        if (action := later.get(meeting.fate)) is not None:
            self._at(self._now_s + meeting.after_s, lambda: action(meeting))

    def _upload(self, meeting: PlannedMeeting) -> None:
        path = self._recordings / meeting.audio_path
        path.parent.mkdir(parents=True)
        part = path.with_suffix(".part")
        part.write_text(meeting.recording(str(self._counts / str(meeting.id))))
        part.replace(path)

    def _cancel(self, meeting: PlannedMeeting) -> None:
        """In the table editor."""
        self.asked_to_cancel.add(meeting.id)
        rows = self._client.rows(
            "update public.meetings set status = 'cancelled' where id = %s and status in ('pending', 'processing')"
            " returning id",
            meeting.id,
        )
        self.cancelled.update(row[0] for row in rows)

    def _delete(self, meeting: PlannedMeeting) -> None:
        self.asked_to_delete.add(meeting.id)
        self._client.rows("delete from public.meetings where id = %s", meeting.id)

    def _retry_when_completed(self, meeting: PlannedMeeting) -> None:
        status = self._client.rows("select status from public.meetings where id = %s", meeting.id)[0][0]
        if status == "completed":
            self._client.rows("select public.meeting_retry_v1(%s)", meeting.id)
        else:
            self._at(self._now_s + 1.0, lambda: self._retry_when_completed(meeting))

    def _look(self) -> None:
        """What was given up because the PC died under it twice is retried, as its message says."""
        failed = self._client.rows("select id from public.meetings where status = 'failed' and error_code = 'poison'")
        for (meeting_id,) in failed:
            self.num_poisoned += 1
            self._client.rows("select public.meeting_retry_v1(%s)", meeting_id)
        self._at(self._now_s + LOOKS_EVERY_S, self._look)
