"""
That FakeStorage answers as the real server was seen to answer (supabase/storage v1.70.6, file backend): a fake that is
kinder than the original would let our adapters pass for nothing.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError

from tests.support.fake_storage import FakeStorage
from tests.support.fake_storage_access import BUCKET, PREFIX
from tests.support.fake_storage_faults import (
    ExpiredToken,
)
from tests.support.fake_storage_objects import Bucket
from tests.support.project_keys import SECRET_KEY, token
from tests.support.storage_calls import CONTENT, MISSING, NAME, NO_BUCKET, SIGN, Caller, said


@pytest.fixture
def server() -> Iterator[FakeStorage]:
    with FakeStorage() as server:
        server.put_object(NAME, CONTENT, metadata={"sha256": "ab"})
        yield server


@pytest.fixture
async def call(server: FakeStorage) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        yield Caller(http)


@pytest.fixture
async def client(server: FakeStorage) -> AsyncIterator[AsyncStorageClient]:
    """The library of the product, with the service key."""
    async with httpx.AsyncClient() as http:
        headers = {"Authorization": f"Bearer {token('service_role')}"}
        yield AsyncStorageClient(f"{server.url}{PREFIX}/", headers, http_client=http)


# --- the library -------------------------------------------------------------------------------------------------


async def test_storage3_signs_lists_and_looks(server: FakeStorage, client: AsyncStorageClient) -> None:
    files = client.from_(BUCKET)
    signed = await files.create_signed_url(NAME, 60)
    info = await files.info(NAME)
    assert str(signed["signedURL"]).startswith(f"{server.url}{PREFIX}/object/sign/{BUCKET}/lab/a%20b.wav?token=")
    assert (info["size"], info["metadata"], info["name"]) == (len(CONTENT), {"sha256": "ab"}, NAME)
    assert info["etag"] == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert [row["name"] for row in await files.list("lab")] == ["a b.wav"]
    assert [(row["name"], row["id"]) for row in await files.list()] == [("lab", None)]
    assert (await client.get_bucket(BUCKET)).public is False
    assert await files.download(NAME) == CONTENT
    assert await files.exists(NAME)
    assert not await files.exists("lab/b.wav")


async def test_storage3_uploads_replaces_and_removes(server: FakeStorage, client: AsyncStorageClient) -> None:
    files = client.from_(BUCKET)
    await files.upload("n.wav", b"one", {"content-type": "audio/wav", "metadata": {"sha256": "cd"}})
    first = server.objects["n.wav"]
    await files.update("n.wav", b"one", {"content-type": "audio/wav"})
    second = server.objects["n.wav"]
    assert (first.content_type, first.metadata) == ("audio/wav", {"sha256": "cd"})
    assert (first.id, first.etag) == (second.id, second.etag)
    assert uuid.UUID(first.version) != uuid.UUID(second.version)
    with pytest.raises(StorageApiError) as caught:
        await files.upload("n.wav", b"two")
    assert (caught.value.status, caught.value.code) == ("409", "Duplicate")
    assert [row["name"] for row in await files.remove(["n.wav", "never"])] == ["n.wav"]
    assert "n.wav" not in server.objects


async def test_storage3_signs_several_without_an_exception(client: AsyncStorageClient) -> None:
    found, missing = await client.from_(BUCKET).create_signed_urls([NAME, "b.wav"], 60)
    assert found["error"] is None
    assert missing["signedURL"] is None
    assert "does not exist" in str(missing["error"])


# --- keys --------------------------------------------------------------------------------------------------------

NO_KEY = (400, "403", "Unauthorized", "AccessDenied")
UNKNOWN_ROLE = (500, "500", "DatabaseError", "DatabaseError")
KEYS = {
    "anon": (token("anon"), MISSING, MISSING),
    "signed in": (token("authenticated"), MISSING, MISSING),
    "expired": (token("service_role", expires_in_s=-9), NO_KEY, NO_BUCKET),
    "another secret": (token("service_role", secret="x" * 32), NO_KEY, NO_BUCKET),
    "garbage": ("garbage", NO_KEY, NO_BUCKET),
    "secret key without its gateway": (SECRET_KEY, NO_KEY, NO_BUCKET),
    "unknown role": (token("nobody"), UNKNOWN_ROLE, UNKNOWN_ROLE),
    "none": (None, (400, "400", "Error", "InvalidRequest"), NO_BUCKET),
}


@pytest.mark.parametrize(("key", "when_signing", "otherwise"), KEYS.values(), ids=KEYS)
async def test_a_wrong_key_looks_like_a_missing_thing(
    call: Caller, key: str | None, when_signing: object, otherwise: object
) -> None:
    """Only signing tells that a key is bad; info and download tolerate it and see nothing."""
    assert said(await call("POST", SIGN, key, json={"expiresIn": 60})) == when_signing
    assert said(await call("GET", f"/object/info/{BUCKET}/{NAME}", key)) == otherwise
    assert said(await call("GET", f"/object/{BUCKET}/{NAME}", key)) == otherwise


async def test_the_role_of_a_lab_pc_reads_and_does_not_write(call: Caller) -> None:
    key = token("meeting_worker")
    assert (await call("POST", SIGN, key, json={"expiresIn": 60})).status_code == 200
    assert (await call("GET", f"/object/info/{BUCKET}/{NAME}", key)).status_code == 200
    refused = await call("POST", f"/object/{BUCKET}/n.wav", key, content=b"x")
    assert (*said(refused), refused.json()["message"]) == (*NO_KEY, "permission denied for table objects")
    assert said(await call("DELETE", f"/object/{BUCKET}/{NAME}", key)) == NO_KEY
    refused = await call("POST", f"/object/{BUCKET}/n.wav", token("anon"), content=b"x")
    assert refused.json()["message"] == "new row violates row-level security policy"


async def test_who_may_do_what_is_for_a_test_to_say(call: Caller, server: FakeStorage) -> None:
    server.may = lambda claims, action, bucket, name: action == "read" and name.startswith(f"{claims.get('sub')}/")
    server.put_object("me/a.wav", CONTENT)
    key = token("authenticated", sub="me")
    assert (await call("GET", f"/object/{BUCKET}/me/a.wav", key)).content == CONTENT
    assert said(await call("GET", f"/object/{BUCKET}/{NAME}", key)) == MISSING


# --- signing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (f"/object/sign/{BUCKET}/b.wav", {"expiresIn": 60}, MISSING),
        ("/object/sign/elsewhere/b.wav", {"expiresIn": 60}, MISSING),
        (SIGN, {"expiresIn": 0}, (400, "400", "Error", "InvalidRequest")),
        (SIGN, {"expiresIn": 60.5}, (400, "400", "Error", "InvalidRequest")),
        (SIGN, {}, (400, "400", "Error", "InvalidRequest")),
        (f"/object/sign/{BUCKET}/ä.wav", {"expiresIn": 60}, (400, "400", "InvalidKey", "InvalidKey")),
        (f"/object/sign/{BUCKET}/a~b", {"expiresIn": 60}, (400, "400", "InvalidKey", "InvalidKey")),
    ],
)
async def test_what_is_not_signed(call: Caller, path: str, body: dict[str, Any], expected: object) -> None:
    """A missing bucket is not told from a missing object."""
    assert said(await call("POST", path, token("service_role"), json=body)) == expected


async def test_a_signed_address_is_a_token_for_one_path(call: Caller, server: FakeStorage) -> None:
    signed = await call.signed()
    path, _, bearer = signed.partition("?token=")
    claims = jwt.decode(bearer, options={"verify_signature": False})
    assert path == SIGN  # with its raw space
    assert claims == {"url": f"{BUCKET}/{NAME}", "scope": "download", "iat": claims["iat"], "exp": claims["iat"] + 60}
    server.put_object("lab/b.wav", b"other")
    assert said(await call("GET", signed.replace("a b.wav", "b.wav")))[2] == "InvalidSignature"


async def test_reserved_letters_must_not_be_encoded_when_signing(call: Caller, server: FakeStorage) -> None:
    server.put_object("a+b.wav", CONTENT)
    raw = await call.signed(f"/object/sign/{BUCKET}/a+b.wav")
    assert (await call("GET", raw)).content == CONTENT
    dead = await call.signed(f"/object/sign/{BUCKET}/a%2Bb.wav")
    assert said(await call("GET", dead))[2] == "InvalidSignature"


BAD_TOKENS = {
    "none": ("", "Error"),
    "empty": ("?token=", "InvalidJWT"),
    "junk": ("?token=junk", "InvalidJWT"),
    "a key": (f"?token={token('service_role')}", "InvalidSignature"),
    "of another secret": (f"?token={token('service_role', secret='x' * 32)}", "InvalidJWT"),
}


@pytest.mark.parametrize(("query", "error"), BAD_TOKENS.values(), ids=BAD_TOKENS)
async def test_tokens_that_open_nothing(call: Caller, query: str, error: str) -> None:
    answer = await call("GET", SIGN + query)
    assert (answer.status_code, answer.json()["statusCode"], answer.json()["error"]) == (400, "400", error)


async def test_a_token_expires(call: Caller, server: FakeStorage) -> None:
    server.faults.next(ExpiredToken(), on="sign")
    answer = await call("GET", await call.signed())
    assert said(answer) == (400, "400", "InvalidJWT", "InvalidJWT")
    assert answer.json()["message"] == '"exp" claim timestamp check failed'
    assert (await call("GET", await call.signed())).content == CONTENT


# --- uploads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "content_type", "expected"),
    [
        ("a.wav", b"x" * 11, "audio/wav", (400, "413", "Payload too large", "EntityTooLarge")),
        ("a.wav", b"x", "image/png", (400, "415", "invalid_mime_type", "InvalidMimeType")),
        ("é.wav", b"x", "audio/wav", (400, "400", "InvalidKey", "InvalidKey")),
        ("a" * 256, b"x", "audio/wav", (500, "500", "Internal", "InternalError")),
    ],
)
async def test_what_a_bucket_does_not_take(name: str, content: bytes, content_type: str, expected: object) -> None:
    with FakeStorage(buckets=[Bucket(BUCKET, 10, ("audio/*",))]) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            headers = {"Content-Type": content_type}
            answer = await Caller(http)(
                "POST", f"/object/{BUCKET}/{name}", token("service_role"), content=content, headers=headers
            )
    assert said(answer) == expected
    assert server.objects == {}


async def test_other_answers(call: Caller, server: FakeStorage) -> None:
    key = token("service_role")
    assert said(await call("POST", "/object/elsewhere/a.wav", key, content=b"x")) == NO_BUCKET
    assert said(await call("GET", "/bucket/elsewhere", key)) == NO_BUCKET
    assert said(await call("GET", "/object/info/elsewhere/a.wav", key)) == NO_BUCKET
    listed = await call("POST", "/object/list/elsewhere", key, json={"prefix": ""})
    assert (listed.status_code, listed.json()) == (200, [])
    unknown = await call("GET", "/x", key)
    assert (unknown.status_code, unknown.json()["statusCode"]) == (404, 404)
    assert (await call("GET", "/version")).text == "v1.70.6"
    server.with_codes = False
    assert "code" not in (await call("GET", "/bucket/elsewhere", key)).json()


async def test_a_resumable_upload(call: Caller, server: FakeStorage) -> None:
    key, tus = token("service_role"), {"Tus-Resumable": "1.0.0", "Upload-Length": "6"}
    named = {"Upload-Metadata": f"bucketName {b64(BUCKET)},objectName {b64('n.wav')},metadata {b64('{}')}"}
    created = await call("POST", "/upload/resumable", key, headers={**tus, **named})
    location = httpx.URL(created.headers["location"])
    assert (created.status_code, location.scheme) == (201, "https")
    path = location.path.removeprefix(PREFIX)

    async def patch(offset: int, content: bytes) -> httpx.Response:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return await call("PATCH", path, key, headers={**tus, **headers}, content=content)

    first = await patch(0, b"abcd")
    assert (first.status_code, first.headers["upload-offset"]) == (204, "4")
    assert "n.wav" not in server.objects
    assert ((await patch(3, b"def")).status_code, (await patch(5, b"f")).status_code) == (409, 409)
    assert (await call("HEAD", path, key, headers=tus)).headers["upload-offset"] == "4"
    assert (await patch(4, b"ef")).status_code == 204
    assert server.objects["n.wav"].read_bytes() == b"abcdef"
    again = await call("POST", "/upload/resumable", key, headers={**tus, **named})
    assert (again.status_code, again.headers["content-type"][:10]) == (409, "text/plain")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
