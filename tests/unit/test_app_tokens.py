"""Minted worker tokens: verified as the project verifies them; what cannot sign is refused with a sentence."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.project_keys import (
    LEGACY_SECRET,
    PUBLISHABLE_KEY,
    SECRET_KEY,
    SIGNING_KEY_ID,
    WORKER_ROLE,
    claims_of,
    signing_key,
    token,
)
from worker.app_tokens import WorkerToken, token_by_secret, token_by_signing_key
from worker.exceptions import ConfigurationError
from worker.supabase_keys import SECONDS_PER_DAY, KeyKind, read_key, worker_refusals


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing-key.json"
    path.write_text(json.dumps(signing_key()))
    return path


def assert_is_a_worker_token(minted: WorkerToken, *, days: int) -> dict[str, Any]:
    claims = claims_of(minted.text)
    assert claims["role"] == WORKER_ROLE == minted.role
    assert claims["exp"] - claims["iat"] == days * SECONDS_PER_DAY
    assert abs(claims["iat"] - time.time()) < 60
    assert "sub" not in claims, "it is nobody's: row policies compare auth.uid() with it"
    assert read_key(minted.text).kind is KeyKind.WORKER
    assert minted.expires_on == read_key(minted.text).expires_on
    assert worker_refusals(PUBLISHABLE_KEY, minted.text, now=time.time()) == []
    return claims


def test_the_legacy_secret_signs_a_token_that_the_project_believes() -> None:
    minted = token_by_secret(LEGACY_SECRET, days=365)
    assert_is_a_worker_token(minted, days=365)
    assert (minted.algorithm, minted.key_id) == ("HS256", None)
    assert "kid" not in jwt.get_unverified_header(minted.text)


def test_an_imported_key_signs_a_token_that_names_it(key_file: Path) -> None:
    minted = token_by_signing_key(key_file, days=30)
    assert_is_a_worker_token(minted, days=30)
    assert jwt.get_unverified_header(minted.text) == {"alg": "ES256", "kid": SIGNING_KEY_ID, "typ": "JWT"}
    assert minted.key_id == SIGNING_KEY_ID


def test_an_rsa_key_signs_too(tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = {**json.loads(RSAAlgorithm.to_jwk(key)), "kid": "rsa-1", "alg": "RS256"}
    (tmp_path / "rsa.json").write_text(json.dumps(jwk))
    minted = token_by_signing_key(tmp_path / "rsa.json", days=1)
    assert jwt.decode(minted.text, key.public_key(), ["RS256"])["role"] == WORKER_ROLE
    assert jwt.get_unverified_header(minted.text)["kid"] == "rsa-1"


def test_the_list_that_a_local_stack_reads_is_taken_too(key_file: Path) -> None:
    """signing_keys_path of supabase/config.toml holds a list."""
    key_file.write_text(json.dumps([signing_key()]))
    assert token_by_signing_key(key_file, days=1).key_id == SIGNING_KEY_ID


@pytest.mark.parametrize("secret", [SECRET_KEY, token("service_role")])
def test_a_key_is_not_taken_for_the_secret(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="this is a key, not the secret") as caught:
        token_by_secret(secret, days=1)
    assert secret not in str(caught.value)


def test_a_secret_that_was_cut_off_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shorter than 32 bytes"):
        token_by_secret(LEGACY_SECRET[:31], days=1)


def without(*names: str, **changed: object) -> str:
    return json.dumps({name: value for name, value in signing_key().items() if name not in names} | changed)


@pytest.mark.parametrize(
    ("content", "because"),
    [
        ("-----BEGIN PRIVATE KEY-----", "is not JSON"),
        ("[]", "holds no single key for ES256 or RS256"),
        ('"text"', "holds no single key"),
        (without(alg="HS256"), "holds no single key for ES256 or RS256"),
        (without("d"), "holds a public key, which cannot sign"),
        (without("kid"), "has no `kid`"),
        (without("x"), "holds a damaged key"),
        (without(d="AAAA"), "holds a damaged key"),
        (without(d=7), "holds a damaged key"),
        (without(kty="RSA"), "holds a damaged key"),
        (without(alg="RS256"), "holds a damaged key"),
    ],
)
def test_a_file_that_cannot_sign_is_refused_with_the_reason(key_file: Path, content: str, because: str) -> None:
    key_file.write_text(content)
    with pytest.raises(ConfigurationError, match=r"--signing-key: signing-key\.json") as caught:
        token_by_signing_key(key_file, days=1)
    assert because in str(caught.value)
    assert signing_key()["d"] not in str(caught.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        token_by_signing_key(tmp_path / "missing.json", days=1)
