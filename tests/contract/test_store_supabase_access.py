"""Which key and token get how far, and what somebody reads who brought the wrong one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support import project_keys
from tests.support.gateway import Gateway
from tests.support.postgrest import Postgrest
from tests.support.project_keys import PUBLISHABLE_KEY, SECRET_KEY, token
from tests.support.queue_values import worker_info
from tests.support.queue_worlds import fresh_database
from tests.support.supabase_project import add_user, make_project
from tests.support.supabase_stack import SupabaseStack
from worker.adapters.store_supabase import SupabaseStore
from worker.exceptions import SchemaMismatchError, SupabaseAccessError
from worker.models import NewMeeting
from worker.ports import Store

WORKER_TOKEN = token(project_keys.WORKER_ROLE)


@pytest.mark.parametrize(
    ("key", "worker_token"),
    [
        (token("service_role"), None),
        (SECRET_KEY, None),
        (PUBLISHABLE_KEY, WORKER_TOKEN),
        (token("anon"), WORKER_TOKEN),
    ],
    ids=["service_role key", "secret key", "publishable key and worker token", "anon key and worker token"],
)
async def test_each_way_to_run_a_pc_works(queue_stack: SupabaseStack, key: str, worker_token: str | None) -> None:
    """Three ways, and the legacy form of the third."""
    store = SupabaseStore(queue_stack.url, key, worker_token=worker_token)
    assert (await store.register(worker_info(str(uuid4())))).outcome == "registered"
    await store.close()


@pytest.mark.parametrize(
    ("key", "worker_token", "hint"),
    [
        ("sb_secret_of_another_project", None, "Copy SUPABASE_KEY anew"),
        (WORKER_TOKEN, None, "Copy SUPABASE_KEY anew"),
        (PUBLISHABLE_KEY, token(project_keys.WORKER_ROLE, expires_in_s=-60), "expired"),
        (PUBLISHABLE_KEY, token(project_keys.WORKER_ROLE, secret="of another project, also long enough"), "verify"),
        (PUBLISHABLE_KEY, "no token at all", "verify"),
        (PUBLISHABLE_KEY, token("nobody_knows_this_role"), "does not have the role"),
        (PUBLISHABLE_KEY, None, "does not allow"),
        (token("anon"), None, "does not allow"),
        (PUBLISHABLE_KEY, project_keys.user_token(uuid4()), "does not allow"),
        (PUBLISHABLE_KEY, token("project_owner"), "does not allow"),
    ],
    ids=[
        "unknown key",
        "worker token in place of the key",
        "expired token",
        "token of another project",
        "not a token",
        "role that is not there",
        "publishable key alone",
        "anon key alone",
        "a person's token",
        "role that PostgREST may not take",
    ],
)
async def test_the_wrong_key_is_told_what_is_wrong(
    queue_stack: SupabaseStack, key: str, worker_token: str | None, hint: str
) -> None:
    """At once: no key gets better by trying. And it is not repeated in the message or the log."""
    store = SupabaseStore(queue_stack.url, key, worker_token=worker_token)
    before = queue_stack.gateway.num_requests
    with pytest.raises(SupabaseAccessError, match=hint) as caught:
        await store.status()
    await store.close()
    assert queue_stack.gateway.num_requests - before == 1
    told = f"{caught.value} {caught.value.details}"
    assert not any(secret in told for secret in (key, worker_token or key))


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.register(worker_info()),
        lambda store: store.meetings(),
        lambda store: store.meeting(uuid4()),
        lambda store: store.enqueue(NewMeeting(title="t", audio_path="lab/a.wav")),
    ],
    ids=["register", "meetings", "meeting", "enqueue"],
)
async def test_a_project_that_was_not_migrated_says_what_to_do(
    unmigrated_url: str, call: Callable[[Store], Awaitable[Any]]
) -> None:
    """Functions and tables are missing."""
    store = SupabaseStore(unmigrated_url, SECRET_KEY)
    with pytest.raises(SchemaMismatchError, match="migrate"):
        await call(store)
    await store.close()


@pytest.fixture(scope="module")
def unmigrated_url(server_dsn: str) -> Iterator[str]:
    with fresh_database(server_dsn) as dsn:
        make_project(dsn)
        with Postgrest(dsn) as postgrest, Gateway(postgrest.url) as gateway:
            yield gateway.url


async def test_a_meeting_is_read_by_its_owner_only(queue_stack: SupabaseStack) -> None:
    """The function that reads it whole leaves the row policies in force."""
    owner, other = add_user(queue_stack.dsn), add_user(queue_stack.dsn)
    lab = SupabaseStore(queue_stack.url, SECRET_KEY)
    meeting_id = await lab.enqueue(NewMeeting(title="t", audio_path=f"{owner}/a.wav", user_id=owner))
    await lab.close()
    for user, num_seen in ((owner, 1), (other, 0)):
        store = SupabaseStore(queue_stack.url, PUBLISHABLE_KEY, worker_token=project_keys.user_token(user))
        detail = await store.meeting(meeting_id)
        assert (detail is not None) == bool(num_seen)
        assert len(await store.meetings()) == num_seen
        await store.close()
