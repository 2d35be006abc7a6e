"""What a key is, told from its text; and each pair that cannot run a worker is refused with the reason in words."""

from __future__ import annotations

import time

import jwt
import pytest

from tests.support.project_keys import PUBLISHABLE_KEY, SECRET_KEY, WORKER_ROLE, signing_key, token, user_token
from worker.supabase_keys import (
    SECONDS_PER_DAY,
    KeyFacts,
    KeyKind,
    admin_refusals,
    damage,
    read_key,
    worker_refusals,
)

NOW = time.time()
SERVICE, ANON, WORKER = token("service_role"), token("anon"), token(WORKER_ROLE)


def es256_worker_token() -> str:
    return jwt.encode({"role": WORKER_ROLE, "exp": NOW + 60}, jwt.PyJWK(signing_key()).key, "ES256")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (SECRET_KEY, KeyKind.SECRET),
        (PUBLISHABLE_KEY, KeyKind.PUBLISHABLE),
        (SERVICE, KeyKind.SERVICE_ROLE),
        (ANON, KeyKind.ANON),
        (user_token("9f2c"), KeyKind.USER),
        (WORKER, KeyKind.WORKER),
        (es256_worker_token(), KeyKind.WORKER),
        (token("dashboard_admin"), KeyKind.OTHER_ROLE),
        (token(""), KeyKind.OTHER_ROLE),
        ("hf_0123456789abcdefghijklmnopqrstu", KeyKind.UNKNOWN),
        ("", KeyKind.UNKNOWN),
    ],
)
def test_a_key_is_told_by_its_text(text: str, kind: KeyKind) -> None:
    assert read_key(text).kind is kind


def test_a_jwt_tells_its_role_and_how_long_it_lasts() -> None:
    facts = read_key(token(WORKER_ROLE, expires_in_s=10 * SECONDS_PER_DAY))
    assert facts.role == WORKER_ROLE
    assert facts.days_left(NOW) == pytest.approx(10, abs=0.01)
    assert not facts.is_expired(NOW)
    assert facts.is_expired(NOW + 11 * SECONDS_PER_DAY)
    assert KeyFacts(KeyKind.WORKER, WORKER_ROLE, 1_798_761_600.0).expires_on == "2027-01-01"


def test_an_api_key_does_not_expire() -> None:
    facts = read_key(SECRET_KEY)
    assert (facts.days_left(NOW), facts.is_expired(NOW), facts.expires_on) == (None, False, "never")


@pytest.mark.parametrize("key", [SERVICE, SECRET_KEY])
def test_a_master_key_alone_runs_a_worker(key: str) -> None:
    assert worker_refusals(key, None, now=NOW) == []


@pytest.mark.parametrize("key", [ANON, PUBLISHABLE_KEY])
@pytest.mark.parametrize("worker_token", [WORKER, es256_worker_token()])
def test_a_public_key_with_a_worker_token_runs_a_worker(key: str, worker_token: str) -> None:
    assert worker_refusals(key, worker_token, now=NOW) == []


@pytest.mark.parametrize(
    ("key", "worker_token", "because"),
    [
        (user_token("9f2c"), None, "SUPABASE_KEY: this is the token of a signed-in user"),
        (ANON, None, "SUPABASE_KEY: this is the project's anon key, which may not run a worker alone"),
        (PUBLISHABLE_KEY, None, "SUPABASE_KEY: this is the project's publishable key"),
        (WORKER, None, "Move it to SUPABASE_WORKER_TOKEN"),
        (WORKER, WORKER, "Move it to SUPABASE_WORKER_TOKEN"),
        (token("dashboard_admin"), None, "this is a token of the role 'dashboard_admin'"),
        ("my-supabase-key", None, "SUPABASE_KEY: this is not a key of a Supabase project"),
        (token("service_role", expires_in_s=-60), None, "SUPABASE_KEY: it expired on "),
        (token("anon", expires_in_s=-60), WORKER, "SUPABASE_KEY: it expired on "),
        (SERVICE, WORKER, "or remove the token"),
        (SECRET_KEY, WORKER, "or remove the token"),
        (ANON, token(WORKER_ROLE, expires_in_s=-60), "SUPABASE_WORKER_TOKEN: it expired on "),
        (ANON, user_token("9f2c"), "SUPABASE_WORKER_TOKEN: this is the token of a signed-in user"),
        (ANON, token("dashboard_admin"), "not a worker token (role meeting_worker)"),
        (ANON, SERVICE, "SUPABASE_WORKER_TOKEN: this is the project's service_role key"),
        (ANON, PUBLISHABLE_KEY, "SUPABASE_WORKER_TOKEN: this is the project's publishable key"),
        (f"'{SERVICE}'", None, "SUPABASE_KEY: the key stands in quotes"),
        (f"{SERVICE[:50]}\n{SERVICE[50:]}", None, "SUPABASE_KEY: the key has a space or a line break inside"),
        (SERVICE[:-4], None, "SUPABASE_KEY: the key is cut off"),
        (ANON, WORKER[:60], "SUPABASE_WORKER_TOKEN: the token is cut off"),
        (ANON, f"Bearer {WORKER}", "SUPABASE_WORKER_TOKEN: the token begins with Bearer"),
    ],
)
def test_what_cannot_run_a_worker_is_refused_with_the_reason(key: str, worker_token: str | None, because: str) -> None:
    (refusal,) = worker_refusals(key, worker_token, now=NOW)
    assert because in refusal
    assert refusal.endswith(".")
    assert not [text for text in (key, worker_token) if text and len(text) > 20 and text in refusal]


def test_both_are_named_when_both_are_wrong() -> None:
    assert [r.split(":")[0] for r in worker_refusals("x", "y", now=NOW)] == ["SUPABASE_KEY", "SUPABASE_WORKER_TOKEN"]


@pytest.mark.parametrize(
    "text", [WORKER[:-1], es256_worker_token()[:-2], WORKER[:-43], WORKER.rsplit(".", 1)[0], SECRET_KEY[:20], "eyJ"]
)
def test_a_text_that_was_cut_off_is_noticed(text: str) -> None:
    """Also in the signature: people select a key with the mouse and miss its end."""
    assert "cut off" in (damage(text) or "")


def test_a_masked_key_is_noticed() -> None:
    assert "masked" in (damage("sb_secret_01234•••••••••••••••••") or "")


def test_strange_claims_do_not_break_the_reading() -> None:
    assert read_key(token("service_role", exp="soon")).expires_at is None
    assert read_key(jwt.encode({"role": ["anon"]}, "s" * 32)).kind is KeyKind.OTHER_ROLE
    assert read_key("eyJ.eyJ.eyJ").kind is KeyKind.UNKNOWN
    assert read_key(".".join(["W10"] * 3)).kind is KeyKind.UNKNOWN  # base64url of []


def test_a_person_needs_a_master_key() -> None:
    assert admin_refusals(SECRET_KEY, None, now=NOW) == []
    assert admin_refusals(None, SERVICE, now=NOW) == []
    assert admin_refusals(SERVICE, ANON, now=NOW) == []


def test_with_a_worker_token_only_the_worker_runs_and_it_says_where_an_admin_key_goes() -> None:
    (refusal,) = admin_refusals(None, ANON, now=NOW)
    assert "This PC may only run the worker." in refusal
    assert "SUPABASE_ADMIN_KEY into .env.admin" in refusal


@pytest.mark.parametrize(
    ("admin_key", "because"),
    [
        (ANON, "SUPABASE_ADMIN_KEY: this is the project's anon key"),
        (user_token("9f2c"), "SUPABASE_ADMIN_KEY: this is the token of a signed-in user"),
        (SERVICE[:-5], "SUPABASE_ADMIN_KEY: the key is cut off"),
        (token("service_role", expires_in_s=-60), "SUPABASE_ADMIN_KEY: it expired on "),
    ],
)
def test_a_wrong_admin_key_is_refused_also_beside_a_right_one(admin_key: str, because: str) -> None:
    (refusal,) = admin_refusals(admin_key, SERVICE, now=NOW)
    assert because in refusal
