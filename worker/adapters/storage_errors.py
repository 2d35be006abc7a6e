"""
What a failed request to Supabase Storage, or to any web server, means to us.

Storage answers most refusals with HTTP 400; what is meant stands in the JSON body: `statusCode` is a text and counts as
the status, `error` is a word, `code` (a better word) is missing in older versions. Seen in supabase/storage v1.70.6 and
v1.48.26. Nothing of a foreign exception but its class and status is kept: its text may hold a signed address.
"""

from __future__ import annotations

import ssl
from typing import Any

from worker.adapters.supabase_errors import EXPIRED, KEY_UNKNOWN, NOT_ALLOWED, NOT_VERIFIED, ROLE_MISSING
from worker.exceptions import (
    AudioDownloadError,
    AudioMissingError,
    AudioPathRefusedError,
    AudioUrlRefusedError,
    PCWorkerException,
    SupabaseAccessError,
    SupabaseStorageError,
)

NO_BUCKET = "The bucket meeting-audio is missing in the Supabase project. Run `python -m worker migrate`."
NO_CERTIFICATE = (
    "The certificate of the server with the recording is not valid here. "
    "Check this PC's clock, its proxy and SSL_CERT_FILE."
)
REFUSED_NAME = (
    "The meeting's audio_path holds letters that Supabase Storage does not take, such as ä, é, # or ?. "
    "Upload the recording under a plain name."
)

_ACCESS_REASONS = {
    '"exp"': EXPIRED,
    "signature": NOT_VERIFIED,
    "Invalid Compact JWS": NOT_VERIFIED,
    "22023": ROLE_MISSING,
    "permission denied": NOT_ALLOWED,
    "row-level security": NOT_ALLOWED,
}
"""By what the refusal says; the first that fits."""


class Passing(Exception):
    """A failure that may pass in a moment; `ours` is its name for the outside if it does not."""

    def __init__(self, ours: PCWorkerException) -> None:
        super().__init__(ours.code)
        self.ours = ours


def may_pass(status: int) -> bool:
    """Whether the same request may succeed later. 544: Storage's database timeout."""
    return status >= 500 or status in (408, 423, 425, 429)


def mapped(error: BaseException) -> PCWorkerException | Passing | None:
    """
    Our error for one of storage3, httpx, aiohttp or the network; None for what is none of theirs.

    Told by the package that made its class or one that it is derived from, so that none is forgotten.
    """
    name = type(error).__name__
    families = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    if name == "StorageApiError" and "storage3" in families:
        return refusal(getattr(error, "status", 0), getattr(error, "code", None), getattr(error, "message", None))
    if _is_about_a_certificate(error):
        return AudioDownloadError(NO_CERTIFICATE, reason=name)
    if families & {"storage3", "httpx"}:  # signing, and asking for the size
        return Passing(SupabaseStorageError(reason=name))
    if "aiohttp" in families and "InvalidURL" in {cls.__name__ for cls in type(error).__mro__}:
        return AudioUrlRefusedError(reason=name)
    if "aiohttp" in families or isinstance(error, OSError):  # the transfer; TimeoutError is an OSError
        return Passing(AudioDownloadError(reason=name))
    return None


def refusal(status: object, error: object, message: object) -> PCWorkerException | Passing:
    """
    What an answer of Storage means.

    Args:
        status: the body's `statusCode`, a text; a number is the status of a gateway that answered in Storage's place.
        error: the body's `error`.
        message: the body's `message`; only searched for known words.
    """
    number = int(str(status)) if str(status).isdigit() else 0
    details: dict[str, Any] = {"status": number}
    if number in (401, 403) or "22023" in str(message):
        return SupabaseAccessError(_access_reason(str(message)), **details)
    if error == "Bucket not found":
        return SupabaseStorageError(NO_BUCKET, **details)
    if number == 404 and isinstance(status, str):
        return AudioMissingError(**details)
    if error == "InvalidKey":
        return AudioPathRefusedError(REFUSED_NAME, **details)
    if error in ("InvalidJWT", "InvalidSignature") or may_pass(number) or not isinstance(status, str):
        return Passing(SupabaseStorageError(**details))
    return SupabaseStorageError(
        "Supabase Storage refused a request of this worker. Look for a newer version of the worker.", **details
    )


def _access_reason(message: str) -> str:
    """Why a key was refused, in words; a gateway in front of Storage only knows that it does not know the key."""
    return next((sentence for needle, sentence in _ACCESS_REASONS.items() if needle in message), KEY_UNKNOWN)


def _is_about_a_certificate(error: BaseException | None) -> bool:
    """Also where the library has wrapped it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
