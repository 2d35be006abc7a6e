"""Raw HTTP to FakeStorage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.fake_storage_access import BUCKET, PREFIX
from tests.support.project_keys import token

CONTENT = b"24 bytes of a recording."
NAME = "lab/a b.wav"
SIGN = f"/object/sign/{BUCKET}/{NAME}"


MISSING = (400, "404", "not_found", "NoSuchKey")
NO_BUCKET = (400, "404", "Bucket not found", "NoSuchBucket")


@dataclass
class Caller:
    """Raw HTTP, with the headers that a test says."""

    http: httpx.AsyncClient

    async def __call__(self, method: str, path: str, key: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return await self.http.request(
            method, PREFIX + path, headers={**headers, **options.pop("headers", {})}, **options
        )

    async def signed(self, path: str = SIGN, **body: Any) -> str:
        answer = await self("POST", path, token("service_role"), json=body or {"expiresIn": 60})
        assert answer.status_code == 200, answer.text
        signed: str = answer.json()["signedURL"]
        return signed


def said(answer: httpx.Response) -> tuple[int, str, str, str]:
    """HTTP status, and of the body: statusCode (a text), error, code."""
    body = answer.json()
    return answer.status_code, body["statusCode"], body["error"], body["code"]
