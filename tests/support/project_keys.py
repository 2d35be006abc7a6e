"""The keys and tokens of a Supabase project in tests: legacy secret, imported signing key, API keys, users' tokens."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

import jwt
from jwt.algorithms import ECAlgorithm

LEGACY_SECRET = "a legacy secret of at least 32 characters"
SECRET_KEY = "sb_secret_0123456789abcdefghijkl_fedcba98"
PUBLISHABLE_KEY = "sb_publishable_0123456789abcdefghijkl_fedcba98"
WORKER_ROLE = "meeting_worker"
SIGNING_KEY_ID = "0b2f1b0e-7f3c-4c53-9f0e-2f5f6a1f0c11"


def token(role: str, *, expires_in_s: float = 3600.0, secret: str = LEGACY_SECRET, **claims: Any) -> str:
    """A JWT as the project's legacy secret signs it."""
    now = int(time.time())
    return jwt.encode({"role": role, "iat": now, "exp": int(now + expires_in_s), **claims}, secret, "HS256")


def user_token(user_id: object, *, expires_in_s: float = 3600.0) -> str:
    """What a signed-in user's browser holds."""
    return token("authenticated", sub=str(user_id), aud="authenticated", expires_in_s=expires_in_s)


@cache
def signing_key() -> dict[str, Any]:
    """A private JWK as `supabase gen signing-key --algorithm ES256` writes it."""
    from cryptography.hazmat.primitives.asymmetric import ec

    jwk: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1())))
    return {**jwk, "kid": SIGNING_KEY_ID, "alg": "ES256", "use": "sig", "key_ops": ["sign", "verify"]}


def jwks() -> str:
    """What verifies the project's tokens, as PostgREST and Storage take it."""
    legacy = {"kty": "oct", "alg": "HS256", "k": jwt.utils.base64url_encode(LEGACY_SECRET.encode()).decode()}
    public = {name: value for name, value in signing_key().items() if name != "d"} | {"key_ops": ["verify"]}
    return json.dumps({"keys": [legacy, public]})


def claims_of(bearer: str) -> dict[str, Any]:
    """The verified claims. Raises jwt.PyJWTError."""
    algorithm = jwt.get_unverified_header(bearer)["alg"]
    key = LEGACY_SECRET if algorithm == "HS256" else jwt.PyJWK(signing_key()).key.public_key()
    return jwt.decode(bearer, key, [algorithm], options={"verify_aud": False})
