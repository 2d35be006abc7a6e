"""No secret is readable in a log, whichever way it gets there and however it is spelled."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.observe.logs import configure_logging
from worker.observe.redaction import Redactor, names_a_secret, one_line

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"
SECRET = "p/w+d 'q\"\\ ü"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"GET https://x.supabase.co/storage/v1/object/sign/b/a.mp3?token={JWT}&x=1", JWT),
        ("https://x/y?apikey=abc123&z=1", "abc123"),
        ("https://s3/x?X-Amz-Signature=deadbeef&X-Amz-Credential=AKIA/2026", "deadbeef"),
        ("https://s3/x?X-Amz-Credential=AKIA", "AKIA"),
        ("host=/tmp user=postgres password='two words' dbname=x", "two words"),
        ("password=plain", "plain"),
        ("Authorization: Bearer abcdef.ghijkl", "abcdef"),
        ("{'Authorization': 'Basic dXNlcjpwdw==', 'x': 1}", "dXNlcjpwdw"),
        ('{"apikey": "abc123"}', "abc123"),
        ('"{\\"apikey\\": \\"abc123\\"}"', "abc123"),
        (f"key is {JWT}.", JWT),
        ("sb_secret_abcdefghijklmnop_q", "abcdefghijklmnop"),
        ("hf_abcdefghijklmnopqrst", "abcdefghijklmnop"),
        ("postgresql://postgres:hunter2@db.host:5432/postgres", "hunter2"),
        ("postgresql+psycopg://u:a@b:c/d@db.host/postgres", "a@b:c/d"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, hidden: str) -> None:
    redacted = Redactor([])(text)
    assert hidden not in redacted
    assert "***" in redacted


@pytest.mark.parametrize(
    "text",
    [
        "claimed meeting 4b0f with 3 tokens",
        "http://127.0.0.1:54321/rest/v1/meetings?select=id",
        "postgresql://postgres@/postgres?host=/run/x",
        "ratio 10:30 a@b",
        "the key of the room: none",
    ],
)
def test_what_does_not_is_left_alone(text: str) -> None:
    assert Redactor([])(text) == text


@pytest.mark.parametrize(
    "spelled",
    [SECRET, quote(SECRET), quote(SECRET, safe=""), repr(SECRET), repr({"k": SECRET}), "x" + SECRET + "y"],
)
def test_a_known_secret_is_masked_in_every_spelling(spelled: str) -> None:
    redacted = Redactor(["", " ", SECRET])(spelled)
    assert "p/w" not in redacted
    assert "p%2Fw" not in redacted


def test_a_short_secret_is_masked_only_where_it_stands_alone() -> None:
    assert Redactor(["abc"])("abc and abcdef, (abc)") == "*** and abcdef, (***)"


def test_a_secret_that_is_part_of_another_does_not_leave_the_rest() -> None:
    assert Redactor(["secret", "secret-and-more"])("x secret-and-more") == "x ***"


@given(st.text(min_size=6, max_size=30).filter(lambda s: s.strip() == s and "*" not in s), st.text(), st.text())
def test_any_secret_in_any_text_is_gone(secret: str, before: str, after: str) -> None:
    if secret not in before + after:
        assert secret not in Redactor([secret])(before + " " + secret + " " + after)


def test_long_hostile_text_takes_no_time_to_speak_of() -> None:
    """A pattern that backtracks would hang here until pytest's timeout."""
    for piece in ("a.", "a-_", "eyJa", "http://", "token", "x:", "\\'", "bearer "):
        Redactor(["known-secret"])(piece * 50_000)


@pytest.mark.parametrize("name", ["password", "DB_PASSWORD", "apikey", "api_key", "access_token", "Authorization"])
def test_fields_of_these_names_are_masked_whatever_they_hold(name: str) -> None:
    assert names_a_secret(name)


@pytest.mark.parametrize("name", ["tokens", "key", "title", "stage", "num_tokens", "speaker"])
def test_fields_of_other_names_are_not(name: str) -> None:
    assert not names_a_secret(name)


@given(st.text())
def test_an_escaped_text_is_one_printable_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert "\x1b" not in one_line(text)
    one_line(text).encode()


@pytest.mark.parametrize("format", ["text", "json"])
def test_message_arguments_fields_names_and_stack_traces_are_all_redacted(tmp_path: Path, format: str) -> None:
    secret = 'very-"secret"-value'
    logger = logging.getLogger("worker.test")
    with configure_logging(
        log_dir=tmp_path, level="INFO", format=format, secrets=[secret], worker_id="w", console=False
    ):
        try:
            try:
                raise ValueError(f"inner {secret}")
            except ValueError as inner:
                raise RuntimeError(f"outer {secret}") from inner
        except RuntimeError:
            logger.exception(
                f"message {secret} %s", secret, extra={"value": secret, "nested": {"k": [secret]}, "token": 17}
            )
    written = (tmp_path / "pc_worker.log").read_text() + (tmp_path / "pc_worker_errors.log").read_text()
    assert "very-" not in written
    assert "secret" not in written.replace("test_message_arguments", "").replace("{secret}", "").replace(" secret", "")
    assert "inner ***" in written
    assert "17" in written
