"""
What a key of a Supabase project is, and which keys may run a worker: told from the text alone.

Nothing here asks the project or verifies a signature, so a key that looks right may still be refused there. The three
ways to run a PC: a service_role key, a secret key, or a publishable (anon) key together with a worker token.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

WORKER_ROLE = "meeting_worker"
"""The Postgres role of a lab PC that holds no master key."""

SECONDS_PER_DAY = 86_400.0


class KeyKind(StrEnum):
    SECRET = "secret"  # noqa: S105 - the name of a kind; sb_secret_...: may do everything
    PUBLISHABLE = "publishable"  # sb_publishable_...: public, for browsers
    SERVICE_ROLE = "service_role"  # the legacy JWT that may do everything
    ANON = "anon"  # the legacy JWT for browsers
    USER = "authenticated"  # what a signed-in person's browser holds, for an hour
    WORKER = WORKER_ROLE  # a worker token
    OTHER_ROLE = "other_role"  # a JWT of another role, or of none
    UNKNOWN = "unknown"


MASTER_KINDS = frozenset({KeyKind.SECRET, KeyKind.SERVICE_ROLE})
"""They pass all policies: for a trusted PC, and for people who administrate."""

PUBLIC_KINDS = frozenset({KeyKind.PUBLISHABLE, KeyKind.ANON})
"""They name the project to its gateway and may do next to nothing alone."""

IN_WORDS = {
    KeyKind.SECRET: "the project's secret key",
    KeyKind.PUBLISHABLE: "the project's publishable key",
    KeyKind.SERVICE_ROLE: "the project's service_role key",
    KeyKind.ANON: "the project's anon key",
    KeyKind.USER: "the token of a signed-in user",
    KeyKind.WORKER: "a worker token",
    KeyKind.OTHER_ROLE: "a token of another role",
    KeyKind.UNKNOWN: "not a key of a Supabase project",
}

_SB_KINDS = {"sb_secret_": KeyKind.SECRET, "sb_publishable_": KeyKind.PUBLISHABLE}
_JWT_KINDS = {
    kind.value: kind for kind in (KeyKind.SERVICE_ROLE, KeyKind.ANON, KeyKind.USER, KeyKind.WORKER)
}  # by their claim `role`

_SB_REST = re.compile(r"[A-Za-z0-9_-]{20,}")  # 22 random characters, an underscore and a checksum of 8
_QUOTES = tuple("'\"`\u201c\u201d\u2018\u2019")
_JWT_START = "eyJ"  # base64url of '{"'
_SIGNATURE_BYTES = {"HS256": 32, "ES256": 64, "RS256": 256}  # at least; RFC 7518, sections 3.2 to 3.4


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """`role` and `expires_at` (seconds since 1970) are claims of a JWT; other keys have none and do not expire."""

    kind: KeyKind
    role: str | None = None
    expires_at: float | None = None

    def days_left(self, now: float) -> float | None:
        """None when it does not expire; not above zero when it has."""
        return None if self.expires_at is None else (self.expires_at - now) / SECONDS_PER_DAY

    def is_expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    @property
    def expires_on(self) -> str:
        """The day, as 2026-12-31 (UTC)."""
        return "never" if self.expires_at is None else f"{datetime.fromtimestamp(self.expires_at, UTC):%Y-%m-%d}"

    @property
    def in_words(self) -> str:
        if self.kind is KeyKind.OTHER_ROLE:
            return f"a token of the role {self.role!r}" if self.role else "a token without a role"
        return IN_WORDS[self.kind]


def read_key(text: str) -> KeyFacts:
    """What the text says it is; UNKNOWN when it is damaged."""
    for prefix, kind in _SB_KINDS.items():
        if text.startswith(prefix):
            return KeyFacts(kind if damage(text) is None else KeyKind.UNKNOWN)
    claims = _claims(text)
    if claims is None:
        return KeyFacts(KeyKind.UNKNOWN)
    role, expires_at = claims.get("role"), claims.get("exp")
    return KeyFacts(
        _JWT_KINDS.get(str(role), KeyKind.OTHER_ROLE),
        str(role)[:63] if role else None,
        float(expires_at) if isinstance(expires_at, int | float) and 0 <= expires_at < 1e11 else None,
    )


def damage(text: str) -> str | None:
    """How the text was spoilt when it was copied, as the rest of a sentence; None when it does not look so."""
    if text.startswith(_QUOTES) or text.endswith(_QUOTES):
        return "stands in quotes; leave them out"
    if text.startswith("Bearer "):
        return "begins with Bearer; leave that word out"
    if any(letter.isspace() for letter in text):
        return "has a space or a line break inside; copy it as one line"
    rest = next((text.removeprefix(prefix) for prefix in _SB_KINDS if text.startswith(prefix)), None)
    if rest is not None:
        return None if _SB_REST.fullmatch(rest) else "is cut off or masked; reveal it in the dashboard, then copy it"
    if text.startswith(_JWT_START) and _claims(text) is None:
        return "is cut off or misspelt; copy all of it again"
    return None


def _claims(text: str) -> dict[str, Any] | None:
    """The claims of a whole JWT, not verified (RFC 7519); None for anything else."""
    try:
        header, claims, signature = text.split(".")
        read: dict[str, Any] = json.loads(_decoded(claims))
        algorithm = json.loads(_decoded(header))["alg"]
        is_whole = len(_decoded(signature)) >= _SIGNATURE_BYTES.get(algorithm, 1)
    except (ValueError, TypeError, KeyError, RecursionError):  # ValueError holds those of base64, UTF-8 and JSON
        return None
    return read if is_whole and isinstance(read, dict) else None


def _decoded(part: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", part):
        raise binascii.Error("not base64url")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# --- who may do what ---------------------------------------------------------------------------------------------

_WAYS = (
    "Use the project's secret key (sb_secret_...) or service_role key, "
    "or the publishable key together with SUPABASE_WORKER_TOKEN."
)
_MINT = "`python -m worker token` mints one."


def worker_refusals(key: str, token: str | None, *, now: float) -> list[str]:
    """
    Why a worker cannot run with SUPABASE_KEY and SUPABASE_WORKER_TOKEN: sentences with their remedy; none if it can.

    Args:
        now: seconds since 1970, against which a JWT's `exp` is held.
    """
    refusals = [_key_refusal(key, token, now=now), None if token is None else _token_refusal(token, now=now)]
    return [refusal for refusal in refusals if refusal]


def _key_refusal(key: str, token: str | None, *, now: float) -> str | None:
    facts = read_key(key)
    if spoilt := damage(key):
        return f"SUPABASE_KEY: the key {spoilt}."
    if facts.kind is KeyKind.WORKER:
        return (
            "SUPABASE_KEY: this is a worker token, which Supabase does not take as a key. Move it to "
            "SUPABASE_WORKER_TOKEN and put the project's publishable key here."
        )
    if facts.kind not in MASTER_KINDS | PUBLIC_KINDS:
        return f"SUPABASE_KEY: this is {facts.in_words}; a worker cannot run with it. {_WAYS}"
    if facts.is_expired(now):
        return f"SUPABASE_KEY: {_expired(facts, now)} Copy the project's current key."
    if facts.kind in PUBLIC_KINDS and token is None:
        return f"SUPABASE_KEY: this is {facts.in_words}, which may not run a worker alone. {_WAYS} {_MINT}"
    if facts.kind in MASTER_KINDS and token is not None:
        return (
            f"SUPABASE_WORKER_TOKEN: SUPABASE_KEY is {facts.in_words}, which would make the token pointless. "
            "Put the publishable key into SUPABASE_KEY, so that this PC holds no master key; or remove the token."
        )
    return None


def _token_refusal(token: str, *, now: float) -> str | None:
    facts = read_key(token)
    if spoilt := damage(token):
        return f"SUPABASE_WORKER_TOKEN: the token {spoilt}."
    if facts.kind is not KeyKind.WORKER:
        return (
            f"SUPABASE_WORKER_TOKEN: this is {facts.in_words}, not a worker token (role {WORKER_ROLE}). "
            f"Put a worker token here: {_MINT}"
        )
    if facts.is_expired(now):
        return f"SUPABASE_WORKER_TOKEN: {_expired(facts, now)} Mint a new one: `python -m worker token`."
    return None


def admin_refusals(admin_key: str | None, key: str | None, *, now: float) -> list[str]:
    """Why a person's commands cannot run with SUPABASE_ADMIN_KEY or else SUPABASE_KEY: as `worker_refusals`."""
    name, text = ("SUPABASE_ADMIN_KEY", admin_key) if admin_key else ("SUPABASE_KEY", key or "")
    facts = read_key(text)
    if spoilt := damage(text):
        return [f"{name}: the key {spoilt}."]
    if facts.kind not in MASTER_KINDS:
        what = f"SUPABASE_ADMIN_KEY: this is {facts.in_words}." if admin_key else "This PC may only run the worker."
        return [
            f"{what} For this command put the project's secret key (sb_secret_...) or service_role key as "
            "SUPABASE_ADMIN_KEY into .env.admin, which only you may read."
        ]
    if facts.is_expired(now):
        return [f"{name}: {_expired(facts, now)} Copy the project's current key."]
    return []


def _expired(facts: KeyFacts, now: float) -> str:
    today = datetime.fromtimestamp(now, UTC)
    return f"it expired on {facts.expires_on} (this PC's clock says {today:%Y-%m-%d})."
