"""Who asks FakeStorage for what: the address in a request, the bearer token, the token of a signed URL."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import jwt
from aiohttp import web

from tests.support import project_keys
from tests.support.fake_storage_objects import (
    Refusal,
    bad_key,
    bad_request,
    bad_signature,
    bad_token,
    checked_name,
    no_such_bucket,
)

Action = Literal["bucket", "read", "write", "delete"]
May = Callable[[dict[str, Any], Action, str, str], bool]
"""Claims, action, bucket, name of the object (empty for the bucket itself): is it allowed?"""

PREFIX = "/storage/v1"
BUCKET = "meeting-audio"
ROLES = {"anon", "authenticated", "service_role", project_keys.WORKER_ROLE}
SIGNING_SECRET = "what FakeStorage signs its URLs with, known to nobody else"
KEPT_ESCAPES = re.compile("(%(?:3B|2F|3F|3A|40|26|3D|2B|24|2C|23))", re.IGNORECASE)


def default_rules(claims: dict[str, Any], action: Action, bucket: str, name: str) -> bool:
    """What the policies of our migrations allow: the service role all, the worker's role to read in its bucket."""
    role = claims.get("role")
    return role == "service_role" or (
        role == project_keys.WORKER_ROLE and action in ("bucket", "read") and bucket == BUCKET
    )


@dataclass(frozen=True)
class Address:
    """An object's place as a URL names it."""

    bucket: str
    name: str
    signed_text: str  # what a token is bound to: the server decodes all but the reserved characters


def address_of(request: web.Request, *route: str) -> Address:
    """Of a request to PREFIX/<route>/<bucket>/<name>. Raises Refusal for names that no object can have."""
    raw = request.raw_path.partition("?")[0].removeprefix("/".join((PREFIX, *route)) + "/")
    if re.search("%(?![0-9A-Fa-f]{2})", raw):
        raise Refusal(400, "FST_ERR_BAD_URL", "'" + raw + "' is not a valid url component", "FST_ERR_BAD_URL")
    bucket, _, name = raw.partition("/")
    parts = KEPT_ESCAPES.split(name)
    text = "".join(part if index % 2 else unquote(part) for index, part in enumerate(parts))
    return Address(unquote(bucket), checked_name(unquote(name)), f"{unquote(bucket)}/{text}")


def claims_of_request(request: web.Request) -> dict[str, Any]:
    """Whose request it is; `apikey` is not looked at. Raises Refusal as the routes do that check their token."""
    bearer = request.headers.get("authorization")
    if bearer is None:
        raise bad_request("headers must have required property 'authorization'")
    try:
        claims = project_keys.claims_of(bearer.removeprefix("Bearer ").strip())
    except jwt.ExpiredSignatureError as error:
        raise bad_key('"exp" claim timestamp check failed') from error
    except jwt.InvalidSignatureError as error:
        raise bad_key("signature verification failed") from error
    except (jwt.PyJWTError, KeyError) as error:
        raise bad_key("Invalid Compact JWS") from error
    role = claims.get("role", "anon")
    if role not in ROLES:
        raise Refusal(500, "DatabaseError", "database error, code: 22023", "DatabaseError", status=500)
    return claims


def tolerated_claims(request: web.Request) -> dict[str, Any]:
    """On the routes where a bad token makes the bucket invisible."""
    try:
        return claims_of_request(request)
    except Refusal as refusal:
        if refusal.status == 500:
            raise
        raise no_such_bucket() from refusal


def write_denied(claims: dict[str, Any]) -> Refusal:
    known_to_supabase = claims.get("role", "anon") in ("anon", "authenticated")
    return bad_key(
        "new row violates row-level security policy" if known_to_supabase else "permission denied for table objects"
    )


def signed_token(signed_text: str, expires_in_s: int) -> str:
    now = int(time.time())
    claims = {"url": signed_text, "scope": "download", "iat": now, "exp": now + expires_in_s}
    return jwt.encode(claims, SIGNING_SECRET, "HS256")


def verified_token(request: web.Request, address: Address) -> dict[str, Any]:
    """The claims of the token in a signed URL. Raises Refusal unless it is for exactly this path, now."""
    token = request.query.get("token")
    if token is None:
        raise bad_request("querystring must have required property 'token'")
    try:
        claims: dict[str, Any] = jwt.decode(token, SIGNING_SECRET, ["HS256"])
    except jwt.ExpiredSignatureError as error:
        raise bad_token('"exp" claim timestamp check failed') from error
    except jwt.InvalidSignatureError as error:
        raise (bad_signature() if is_project_token(token) else bad_token("signature verification failed")) from error
    except jwt.PyJWTError as error:
        raise bad_token("Invalid Compact JWS") from error
    if claims.get("url") != f"{address.bucket}/{address.name}":
        raise bad_signature()
    return claims


def is_project_token(token: str) -> bool:
    """A key of the project in the place of a URL's token has a right signature and the wrong claims."""
    try:
        project_keys.claims_of(token)
    except (jwt.PyJWTError, KeyError):
        return False
    return True
