"""Who may download what: ways to run a PC, refused keys, missing buckets, odd names, addresses that lead elsewhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_faults import Answer, Cut, Reply, Served, database_timeout, html_502
from tests.support.gateway import Gateway
from tests.support.storage_downloads import NAME, RECORDING, Downloads
from tests.support.web_server import WebServer, answering, trusting
from worker.adapters.storage_supabase import SupabaseStorage
from worker.exceptions import (
    AudioMissingError,
    AudioPathRefusedError,
    PCWorkerException,
    SupabaseAccessError,
    SupabaseStorageError,
)

LEGACY = project_keys.token("service_role")
ANON = project_keys.token("anon")
WORKER = project_keys.token(project_keys.WORKER_ROLE)

WAYS = {
    "service_role": (LEGACY, None),
    "secret key": (project_keys.SECRET_KEY, None),
    "publishable key and token": (project_keys.PUBLISHABLE_KEY, WORKER),
    "anon key and token": (ANON, WORKER),
}


@pytest.mark.parametrize(("key", "worker_token"), WAYS.values(), ids=WAYS)
async def test_each_way_to_run_a_pc_can_download(downloads: Downloads, key: str, worker_token: str | None) -> None:
    """Through a gateway that knows keys, as Supabase has one."""
    downloads.put()
    with Gateway(storage_url=downloads.fake.url) as gateway:
        storage = SupabaseStorage(gateway.url, key, worker_token=worker_token, pace=downloads.pace)
        await storage.probe()
        await storage.fetch(NAME, downloads.target, max_bytes=10**9, report=downloads.shares.append)
    assert downloads.target.read_bytes() == RECORDING


async def test_the_bytes_are_asked_for_without_the_key(downloads: Downloads) -> None:
    """The signed address is enough; whoever serves the bytes need not see more."""
    downloads.put()
    await downloads.fetch()
    for request in downloads.fake.seen("download"):
        assert not {"authorization", "apikey", "cookie", "referer"} & set(request.headers)


async def test_no_log_holds_a_signature_or_the_key(downloads: Downloads, caplog: pytest.LogCaptureFixture) -> None:
    """Nor do the libraries' own, however talkative somebody makes them."""
    caplog.set_level(logging.DEBUG)
    downloads.put()
    downloads.fake.faults.next(Cut(1000), html_502())
    await downloads.fetch()
    mine = [record for record in caplog.records if not record.name.startswith("aiohttp.server")]
    assert not any("token=" in record.getMessage() or "eyJ" in record.getMessage() for record in mine)


REFUSED = {
    "of another project": (project_keys.token("service_role", secret="x" * 40), "SUPABASE_URL"),
    "expired": (project_keys.token("service_role", expires_in_s=-60), "expired"),
    "no token at all": ("sb_secret_nobody_translates", "SUPABASE_KEY"),
    "of an unknown role": (project_keys.token("nobody"), "role"),
}


@pytest.mark.parametrize(("key", "word"), REFUSED.values(), ids=REFUSED)
async def test_a_refused_key_is_named_as_the_reason(downloads: Downloads, key: str, word: str) -> None:
    """At the start and in the middle of work: nobody shall look for a recording that is there."""
    downloads.put()
    storage = downloads.storage(key)
    with pytest.raises(SupabaseAccessError, match=word):
        await storage.probe()
    with pytest.raises(SupabaseAccessError, match=word) as caught:
        await storage.fetch(NAME, downloads.target, max_bytes=10**9, report=downloads.shares.append)
    downloads.assert_discreet(caught.value)


async def test_a_key_that_the_gateway_does_not_know(downloads: Downloads) -> None:
    with Gateway(storage_url=downloads.fake.url) as gateway, pytest.raises(SupabaseAccessError, match="SUPABASE_KEY"):
        await SupabaseStorage(gateway.url, "sb_secret_of_nobody").probe()


async def test_a_key_without_rights_finds_nothing(downloads: Downloads) -> None:
    """Storage does not tell it from a missing recording, so the start-up probe cannot either."""
    downloads.put()
    await downloads.storage(ANON).probe()
    with pytest.raises(AudioMissingError):
        await downloads.storage(ANON).fetch(NAME, downloads.target, max_bytes=1, report=downloads.shares.append)


@pytest.mark.parametrize("token", [LEGACY, WORKER], ids=["service_role", "worker"])
async def test_a_missing_bucket_is_the_reason(downloads: Downloads, token: str) -> None:
    """Not a missing recording, for which the meeting would wait: migrate makes the bucket."""
    with FakeStorage(buckets=[]) as fake:
        storage = SupabaseStorage(fake.url, ANON, worker_token=token)
        with pytest.raises(SupabaseStorageError, match=r"meeting-audio.*migrate"):
            await storage.probe()
        with pytest.raises(SupabaseStorageError, match=r"meeting-audio.*migrate"):
            await storage.fetch(NAME, downloads.target, max_bytes=1, report=downloads.shares.append)
    assert downloads.left == []


@pytest.mark.parametrize("fault", [database_timeout(), html_502()], ids=["544", "HTML 502"])
async def test_a_probe_without_an_answer_says_so(downloads: Downloads, fault: Answer) -> None:
    downloads.fake.faults.always(fault, on="sign")
    with pytest.raises(SupabaseStorageError) as caught:
        await downloads.storage().probe()
    downloads.assert_discreet(caught.value)


@pytest.mark.parametrize(
    "name", ["Größe.wav", "会议.wav", "a#1.wav", "100%.wav", "a%20b.wav", "a~b.wav", "a[1].wav", "a{b}.wav", "why?.wav"]
)
async def test_names_that_no_object_can_have_are_refused(downloads: Downloads, name: str) -> None:
    """In words that say so, and without asking: storage3 would decode some of them into other names."""
    with pytest.raises(AudioPathRefusedError, match="plain name"):
        await downloads.storage().fetch(name, downloads.target, max_bytes=1, report=downloads.shares.append)
    assert downloads.fake.requests == []


@pytest.mark.parametrize("name", ["a b.wav", "a+b&c=d.wav", "a@b:c,d;e$f!g*h'i(j).wav", "-x", "lab/.hidden"])
async def test_odd_names_survive_the_signature(downloads: Downloads, name: str) -> None:
    """It is bound to the very letters of the address."""
    downloads.fake.put_object(name, RECORDING)
    await downloads.storage().fetch(name, downloads.target, max_bytes=10**9, report=downloads.shares.append)
    assert downloads.target.read_bytes() == RECORDING


ELSEWHERE = {
    "another host": "/https://127.0.0.1:1/storage/v1/object/sign/meeting-audio/a?token=x",
    "another host without a scheme": "///127.0.0.1:1/storage/v1/object/sign/meeting-audio/a?token=x",
    "another scheme": "/file:///etc/passwd",
    "another service of the project": "/../../rest/v1/meetings?token=x",
    "another part of Storage": "/bucket/meeting-audio?token=x",
    "by a detour": "/object/sign/../../bucket/meeting-audio?token=x",
    "nothing": "",
}


@pytest.mark.parametrize("signed", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_a_signed_address_must_be_the_projects_own(downloads: Downloads, signed: str) -> None:
    """Or whoever answers in the project's place could have the worker fetch from inside the network."""
    downloads.put()
    downloads.fake.faults.always(Answer(200, json.dumps({"signedURL": signed})), on="sign")
    assert type(await downloads.failure(no_progress_s=0.05)) is SupabaseStorageError
    assert {request.operation for request in downloads.fake.requests} <= {"sign", "info"}


class Redirected(Served):
    def __init__(self, location: str) -> None:
        self.location = location

    def alter(self, reply: Reply) -> None:
        reply.status, reply.num_bytes = 307, 0
        reply.headers |= {"location": self.location, "content-length": "0"}


async def test_redirects_are_not_followed(downloads: Downloads) -> None:
    """Not even to a Storage that would serve it."""
    downloads.put()
    with FakeStorage() as other:
        downloads.fake.faults.always(Redirected(f"{other.url}/storage/v1/status"))
        error = await downloads.failure(no_progress_s=0.05)
        assert isinstance(error, PCWorkerException)
        assert other.requests == []
    assert downloads.left == []


async def test_the_key_is_not_carried_to_whoever_redirects(downloads: Downloads, tmp_path: Path) -> None:
    """Signing is a call with the key; also over https."""
    async with WebServer(tmp_path, b"") as elsewhere, WebServer(tmp_path, b"") as project:
        project.answers = [answering(307, Location=elsewhere.url)] * 1000
        url = project.url.removesuffix("/audio.wav")
        storage = SupabaseStorage(url, LEGACY, ssl_context=trusting())
        with pytest.raises(SupabaseStorageError):
            await storage.probe()
        assert len(project.requests) == 1
        assert elsewhere.requests == []


async def test_an_address_with_a_slash_or_capitals_is_the_same(downloads: Downloads) -> None:
    """People copy SUPABASE_URL in many forms."""
    downloads.put()
    url = downloads.fake.url.replace("http://127.0.0.1", "HTTP://LOCALHOST") + "/"
    storage = SupabaseStorage(url, LEGACY, pace=downloads.pace)
    await storage.fetch(NAME, downloads.target, max_bytes=10**9, report=downloads.shares.append)
    assert downloads.target.read_bytes() == RECORDING
