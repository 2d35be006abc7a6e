"""
Mints the tokens with which lab PCs work without holding a master key: part of the composition root.

A worker token is a JWT of the role `meeting_worker`. The project believes it because it is signed with the project's
legacy JWT secret, or with a private key that was imported into its JWT signing keys.
Source: Supabase documentation, "JWT Signing Keys".
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.exceptions import ConfigurationError
from worker.supabase_keys import SECONDS_PER_DAY, WORKER_ROLE, KeyKind, read_key

MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key has at least as many bits as its hash."""

ALGORITHMS = ("ES256", "RS256")
"""What Supabase verifies with an imported key pair."""


@dataclass(frozen=True, slots=True)
class WorkerToken:
    """`key_id` names the signing key; None for the legacy secret."""

    text: str
    role: str
    expires_on: str
    algorithm: str
    key_id: str | None


def token_by_secret(secret: str, *, days: int) -> WorkerToken:
    """
    A worker token signed with the project's legacy JWT secret (HS256).

    Raises ConfigurationError when the secret cannot be one.
    """
    if read_key(secret).kind is not KeyKind.UNKNOWN:
        raise ConfigurationError(
            "SUPABASE_JWT_SECRET: this is a key, not the secret that signs keys. "
            "Copy the legacy JWT secret from the project's settings (JWT Keys)."
        )
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"SUPABASE_JWT_SECRET: it is shorter than {MIN_SECRET_BYTES} bytes, so it is cut off or another secret. "
            "Copy the legacy JWT secret from the project's settings (JWT Keys)."
        )
    return _signed(secret, "HS256", None, days)


def token_by_signing_key(file: Path, *, days: int) -> WorkerToken:
    """
    A worker token signed with an imported private key.

    Args:
        file: a private JWK, as `supabase gen signing-key` writes it, alone or as the only one of a list.

    Raises ConfigurationError when the file holds no such key.
    """
    import jwt

    jwk = _private_jwk(file)
    try:
        key = jwt.PyJWK(jwk, algorithm=jwk["alg"]).key
        return _signed(key, jwk["alg"], jwk["kid"], days)
    except (jwt.PyJWTError, TypeError, ValueError) as error:  # a number that is missing, or no number
        raise ConfigurationError(f"--signing-key: {file.name} holds a damaged key. Export it again.") from error


def _private_jwk(file: Path) -> dict[str, Any]:
    wanted = "`supabase gen signing-key --algorithm ES256` writes one"
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"--signing-key: {file.name} cannot be read. Check its name and its mode.") from error
    except ValueError as error:
        raise ConfigurationError(f"--signing-key: {file.name} is not JSON. Give a private JWK; {wanted}.") from error
    jwk = found[0] if isinstance(found, list) and len(found) == 1 else found
    if not isinstance(jwk, dict) or jwk.get("alg") not in ALGORITHMS:
        raise ConfigurationError(
            f"--signing-key: {file.name} holds no single key for {' or '.join(ALGORITHMS)}. "
            f"Give a private JWK; {wanted}."
        )
    if not jwk.get("d"):
        raise ConfigurationError(
            f"--signing-key: {file.name} holds a public key, which cannot sign. Give the private one that was imported."
        )
    if not isinstance(jwk.get("kid"), str):
        raise ConfigurationError(
            f"--signing-key: {file.name} has no `kid`, by which the project finds its key. Take it from the project's "
            "JWT signing keys and add it."
        )
    return jwk


def _signed(key: Any, algorithm: str, key_id: str | None, days: int) -> WorkerToken:
    import jwt

    now = int(time.time())
    claims = {"role": WORKER_ROLE, "iat": now, "exp": now + days * int(SECONDS_PER_DAY)}
    text = jwt.encode(claims, key, algorithm, headers={"kid": key_id} if key_id else None)
    return WorkerToken(text, WORKER_ROLE, read_key(text).expires_on, algorithm, key_id)
