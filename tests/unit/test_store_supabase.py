"""What SupabaseStore puts on the wire and how often, against a transport that stands for the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.queue_values import result
from worker.adapters.store_supabase import NUM_TRIES, SupabaseStore
from worker.adapters.supabase_http import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, SLICE_BYTES, WRITE_TIMEOUT_S
from worker.exceptions import ConfigurationError, PCWorkerException, SupabaseAccessError, SupabaseConnectionError
from worker.models import NewMeeting, Stage
from worker.observe.logs import configure_logging

URL = "https://project.supabase.co"
KEY = "sb_publishable_hunter2"
TOKEN = "header.hunter3.signature"

Answer = Callable[[httpx.Request], httpx.Response]


class Project(httpx.AsyncBaseTransport):
    """Keeps the requests that came, and answers each with `answer`."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []
        self.slices: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.slices = [len(part) async for part in request.stream]
        self.requests.append(request)
        return self.answer(request)


def says(value: object, status: int = 200) -> Answer:
    return lambda _: httpx.Response(status, json=value)


OK = says({"outcome": "completed"})


def store_of(project: Project, *, worker_token: str | None = TOKEN) -> SupabaseStore:
    return SupabaseStore(URL, KEY, worker_token=worker_token, transport=project)


@pytest.mark.parametrize(("worker_token", "bearer"), [(TOKEN, TOKEN), (None, KEY)])
async def test_the_key_opens_the_gateway_and_the_token_says_who_asks(worker_token: str | None, bearer: str) -> None:
    """In every request, also after a refusal: no event of the library puts another token there."""
    project = Project(OK)
    store = store_of(project, worker_token=worker_token)
    await store.cancel(uuid4())
    project.answer = says({"message": "Invalid API key"}, 401)
    with pytest.raises(SupabaseAccessError):
        await store.cancel(uuid4())
    project.answer = says([])
    await store.meetings()
    assert [(r.headers["apikey"], r.headers["authorization"]) for r in project.requests] == [
        (KEY, f"Bearer {bearer}")
    ] * 3


async def test_a_call_is_one_post_of_its_named_arguments() -> None:
    """To the function of worker/sql that has its name."""
    project, meeting_id = Project(OK), uuid4()
    await store_of(project).retry(meeting_id, replace_edits=True, from_stage=Stage.DIARIZE)
    (request,) = project.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}/rest/v1/rpc/meeting_retry_v2")
    named = {"p_meeting_id": str(meeting_id), "p_replace_edits": True, "p_from": "diarize"}
    assert json.loads(request.content) == named


async def test_each_request_has_its_timeouts() -> None:
    """A half-open connection is noticed; and reading waits longer than the database allows a `complete`."""
    project = Project(OK)
    await store_of(project).complete(uuid4(), 1, result("x"))
    assert project.requests[0].extensions["timeout"] == {
        "connect": CONNECT_TIMEOUT_S,
        "read": READ_TIMEOUT_S,
        "write": WRITE_TIMEOUT_S,
        "pool": CONNECT_TIMEOUT_S,
    }
    assert READ_TIMEOUT_S > 60


async def test_a_large_result_is_sent_in_slices() -> None:
    """So that none of it waits in a second buffer; it arrives whole, with its length told beforehand."""
    project = Project(OK)
    await store_of(project).complete(uuid4(), 1, result("x" * 3 * SLICE_BYTES))
    assert len(project.slices) > 3
    assert max(project.slices) == SLICE_BYTES
    assert sum(project.slices) == int(project.requests[0].headers["content-length"])


@pytest.mark.parametrize(
    "answer",
    [
        says({"message": "The server is shutting down"}, 503),
        says({"code": "PGRST002", "message": "Could not query the database for the schema cache."}, 503),
        says({"code": "57014", "message": "canceling statement due to statement timeout"}, 500),
        lambda _: httpx.Response(200, html="<h1>Welcome to the guest network</h1>"),
        says({"logged_in": False}),
        lambda _: httpx.Response(302, headers={"Location": "https://login.example/"}),
    ],
    ids=["503", "no schema yet", "timeout", "login page", "JSON of somebody else", "redirect"],
)
async def test_what_may_pass_is_tried_three_times(answer: Answer) -> None:
    """Then the caller decides. A redirect is not followed: the key is for the project."""
    project = Project(answer)
    with pytest.raises(SupabaseConnectionError):
        await store_of(project).cancel(uuid4())
    assert [request.url.host for request in project.requests] == ["project.supabase.co"] * NUM_TRIES


async def test_a_cut_connection_is_repeated_with_the_whole_body() -> None:
    """Twice; the third time it gets through."""

    def answer(request: httpx.Request) -> httpx.Response:
        if len(project.requests) < NUM_TRIES:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return httpx.Response(200, json={"outcome": "completed"})

    project = Project(answer)
    assert (await store_of(project).complete(uuid4(), 1, result("x"))).outcome == "completed"
    assert len({request.content for request in project.requests}) == 1
    assert len(project.requests) == NUM_TRIES


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_a_refusal_is_final(status: int) -> None:
    """One request, and one answer for the administrator."""
    project = Project(says({"message": "no"}, status))
    with pytest.raises(PCWorkerException):
        await store_of(project).cancel(uuid4())
    assert len(project.requests) == 1


async def test_reading_is_repeated_as_often_as_writing() -> None:
    """The library's own retry, for GET only and with other rules, is off."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    project = Project(answer)
    with pytest.raises(SupabaseConnectionError):
        await store_of(project).meetings()
    assert [request.method for request in project.requests] == ["GET"] * NUM_TRIES


async def test_a_login_page_does_not_pass_for_an_inserted_meeting() -> None:
    """It answers 200 to everything."""
    project = Project(lambda _: httpx.Response(200, html="<h1>Welcome</h1>"))
    with pytest.raises(SupabaseConnectionError):
        await store_of(project).enqueue(NewMeeting(title="t", audio_path="lab/a.wav"))


async def test_a_closed_store_opens_anew() -> None:
    """As a store on Postgres does."""
    project = Project(OK)
    store = store_of(project)
    await store.close()
    await store.cancel(uuid4())
    await store.close()
    await store.cancel(uuid4())
    assert len(project.requests) == 2


@pytest.mark.parametrize("key", ["", "two\nlines", "späce", "nul\x00"])
def test_a_key_that_no_header_can_carry_is_named(key: str) -> None:
    """Before anything is sent, and without quoting it."""
    with pytest.raises(ConfigurationError, match="SUPABASE_KEY") as caught:
        SupabaseStore(URL, key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("url", ["project.supabase.co", "ftp://project.supabase.co", ""])
async def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SUPABASE_URL"):
        await SupabaseStore(url, KEY).status()


async def test_neither_addresses_nor_keys_are_logged(tmp_path: Path) -> None:
    """httpx would log the address of each request. This does not rely on redaction."""
    project = Project(says({"message": "try later"}, 503))
    with (
        configure_logging(log_dir=tmp_path, level="DEBUG", format="text", secrets=(), worker_id="w", console=False),
        pytest.raises(SupabaseConnectionError),
    ):
        await store_of(project).cancel(uuid4())
    logged = (tmp_path / "pc_worker.log").read_text()
    assert not any(word in logged for word in ("hunter", "supabase.co", "HTTP"))
