"""Where recordings lie, and how a new one gets there and into the queue: part of the composition root."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from uuid import UUID

from worker.app_access import ProjectAccess, project_access
from worker.config import Settings
from worker.exceptions import AudioMissingError, AudioTooBigError, AudioUrlRefusedError, SupabaseQueryError
from worker.models import NewMeeting
from worker.ports import Fetcher, Report, Storage, Store, unheard

if TYPE_CHECKING:
    from worker.adapters.storage_supabase import SupabaseStorage

_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]*://")
_MAX_EXTENSION = 8
_NO_SUCH_ROW = "23503"  # SQLSTATE foreign_key_violation


def storage_of(settings: Settings) -> Storage:
    """The bucket of the project that the settings name, or the folder standing in for it. Nothing is opened yet."""
    access = project_access(settings)
    if access is None:
        from worker.adapters.storage_local import LocalStorage

        return LocalStorage(settings.storage_dir)
    return bucket_of(access)


def bucket_of(access: ProjectAccess) -> SupabaseStorage:
    from worker.adapters.storage_supabase import SupabaseStorage

    return SupabaseStorage(access.url, access.key.get_secret_value(), worker_token=access.token_text)


def web_of(settings: Settings) -> Fetcher:
    """Brings recordings from the addresses in `audio_url`."""
    from worker.adapters.fetch_url import UrlFetcher

    return UrlFetcher(allow_private=settings.allow_private_audio_urls)


# --- enqueueing --------------------------------------------------------------------------------------------------


def is_url(source: str) -> bool:
    """Whether it is an address and not a file."""
    return _URL.match(source) is not None


async def enqueue_file(
    settings: Settings, store: Store, file: Path, asked: NewMeeting, report: Report = unheard
) -> UUID:
    """
    Keep a copy of the recording, then insert the row: a worker never sees a row without its file.

    Args:
        asked: without a title it gets the file's name; `id` and `audio_path` are set here.
        report: called with the part of the copy that is done, in [0, 1].

    Raises AudioMissingError, AudioTooBigError (before anything is copied), and as Storage.put and Store.enqueue do.
    """
    if not file.is_file():
        raise AudioMissingError(f"There is no file {file}.")
    if file.stat().st_size > settings.max_audio_bytes:
        raise AudioTooBigError(
            f"{file.name} has {file.stat().st_size:,} bytes; {settings.max_audio_bytes:,} are allowed. "
            "Compress it, or raise MAX_AUDIO_BYTES here and on the worker's PC."
        )
    meeting_id = uuid.uuid4()
    audio_path = audio_path_of(file.name, meeting_id, asked.user_id)
    await storage_of(settings).put(file, audio_path, report=report)
    placed = {"id": meeting_id, "audio_path": audio_path, "title": asked.title or file.name}
    return await _inserted(store, asked.model_copy(update=placed))


async def enqueue_url(store: Store, url: str, asked: NewMeeting) -> UUID:
    """
    A meeting whose recording a worker fetches itself. Without a title it gets the last name in the address.

    Raises AudioUrlRefusedError unless it is https.
    """
    parts = urlsplit(url)
    if parts.scheme.lower() != "https" or not parts.hostname:
        raise AudioUrlRefusedError("The address must begin with https://.")
    name = unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname
    placed = {"id": uuid.uuid4(), "audio_url": url, "title": asked.title or name}
    return await _inserted(store, asked.model_copy(update=placed))


async def _inserted(store: Store, meeting: NewMeeting) -> UUID:
    try:
        return await store.enqueue(meeting)
    except SupabaseQueryError as error:
        if meeting.user_id is not None and error.details.get("answer_code") == _NO_SUCH_ROW:
            raise SupabaseQueryError(
                f"The project has no user {meeting.user_id}. Copy the id from its dashboard (Authentication, Users)."
            ) from error
        raise


def audio_path_of(file_name: str, meeting_id: UUID, user_id: UUID | None) -> str:
    """
    `<owner>/<meeting>/audio.<extension>`, the owner being a user or the lab. A bucket refuses letters beyond ASCII and
    some signs, so that nothing else of the file's name is in it.
    """
    extension = re.sub(r"[^a-z0-9]", "", Path(file_name).suffix.lower())[:_MAX_EXTENSION]
    return f"{user_id or 'lab'}/{meeting_id}/audio{'.' if extension else ''}{extension}"
