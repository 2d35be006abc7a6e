"""
Questions to an OpenAI-compatible endpoint, through the official client; every way it fails becomes an LlmError.

The client would follow OPENAI_* variables, send facts about this PC in headers, and follow redirects with what was said
in the meeting; here it does none of it. Proxies and SSL_CERT_FILE of the environment count, as for every other address.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from worker.summarize.llm_answer import answer_schema
from worker.summarize.llm_failures import LlmError, TooLongError
from worker.summarize.llm_prompt import Message

if TYPE_CHECKING:
    import httpx
    import openai

logger = logging.getLogger(__name__)

CONNECT_S = 10.0
MAX_ANSWER_BYTES = 4 * 2**20
"""A whole answer has some ten thousand tokens; more bytes are no answer."""

MAX_CONCURRENT = 2
"""Endpoints of a lab serve one or two at a time; more would only wait there, and time out."""

_HEADERS = frozenset(
    ("host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent", "authorization")
) | {"x-stainless-raw-response"}
"""Also the one by which the client itself knows that it is to hand out the bytes as they come."""

_TOO_LONG = re.compile(
    r"context.{0,20}(?:length|window|size|exceed)|(?:prompt|input|request|messages?) (?:is|are) too (?:long|large)"
    r"|too many tokens|max_model_len|maximum.{0,20}tokens|token limit",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model.{0,80}(?:not found|not exist|unknown|not available)", re.IGNORECASE | re.DOTALL)
_STATUS_CAUSES = {401: "unauthorized", 403: "unauthorized", 404: "model_missing", 408: "timeout", 429: "rate_limited"}
_WORTH_ANOTHER_WAY = frozenset((400, 415, 422, 501))
FORMATS = ("json_schema", "json_object", "text")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which parts of the protocol an endpoint takes; the strictest first."""

    format: str = FORMATS[0]
    temperature: bool = True
    limit: str = "max_tokens"

    def arguments(self, max_tokens: int) -> dict[str, Any]:
        found: dict[str, Any] = {self.limit: max_tokens}
        if self.temperature:
            found["temperature"] = 0.0
        if self.format == "json_schema":
            schema = {"name": "minutes", "strict": True, "schema": answer_schema()}
            found["response_format"] = {"type": self.format, "json_schema": schema}
        elif self.format == "json_object":
            found["response_format"] = {"type": self.format}
        return found

    def other(self, complaint: str) -> Dialect | None:
        """What to try after a complaint; None when nothing is left."""
        if self.temperature and "temperature" in complaint:
            return replace(self, temperature=False)
        if self.limit == "max_tokens" and "max_completion_tokens" in complaint:
            return replace(self, limit="max_completion_tokens")
        if self.format != FORMATS[-1]:
            return replace(self, format=FORMATS[FORMATS.index(self.format) + 1])
        return None


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Message(_Envelope):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Envelope):
    message: _Message
    finish_reason: str | None = None


class _Completion(_Envelope):
    choices: tuple[_Choice, ...]


class _Model(_Envelope):
    id: str


class _Models(_Envelope):
    data: tuple[_Model, ...]


class LlmClient:
    """
    One endpoint and model, within `async with`.

    Args:
        timeout_s: of one answer, from the question to its last byte, waiting for the endpoint's limits included.
        max_retries: after a lost connection, 408, 409, 5xx, and 429 (as Retry-After says, up to two minutes).
        dialect: what is known of the endpoint; `self.dialect` is what has been learned.
    """

    def __init__(
        self, *, url: str, model: str, key: str | None, timeout_s: float, max_retries: int, dialect: Dialect
    ) -> None:
        self._model = model
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(MAX_CONCURRENT)
        self.dialect = dialect
        self._http = http = _http_client(timeout_s, has_key=bool(key), is_https=url.startswith("https:"))
        self._client = _openai_client(url, key, max_retries, http)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, messages: list[Message], max_tokens: int) -> str:
        """
        What the model says.

        Raises LlmError; TooLongError when question or answer do not fit.
        """
        create = self._client.chat.completions.with_streaming_response.create
        dialect: Dialect | None = self.dialect
        while dialect:
            try:
                async with self._free, asyncio.timeout(self._timeout_s):
                    body = await _body(
                        create(model=self._model, messages=messages, stream=False, **dialect.arguments(max_tokens))  # type: ignore[arg-type]  # plain dicts are what goes out
                    )
            except TimeoutError:
                raise LlmError("timeout") from None
            except _DialectError as error:
                dialect = dialect.other(error.complaint)
            else:
                self.dialect = dialect
                return _content_of(body)
        raise LlmError("rejected")

    async def models(self) -> tuple[str, ...]:
        """
        The names of what the endpoint has.

        Raises LlmError; `model_missing` where it keeps no list.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await _body(self._client.models.with_streaming_response.list())
            return tuple(model.id for model in _Models.model_validate_json(body).data)
        except TimeoutError:
            raise LlmError("timeout") from None
        except (ValidationError, _DialectError):
            raise LlmError("not_an_api") from None


async def _body(answer: AbstractAsyncContextManager[Any]) -> bytes:
    """All bytes of an answer, if they are not too many."""
    import httpx
    import openai

    body = bytearray()
    try:
        async with answer as response:
            async for part in response.iter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise LlmError("not_an_api")
    except openai.APIStatusError as error:
        raise _of_status(error) from None
    except (openai.APIConnectionError, httpx.HTTPError) as error:
        raise LlmError(_cause_of_connection(error)) from None
    except openai.OpenAIError:
        raise LlmError("not_an_api") from None
    return bytes(body)


class _DialectError(Exception):
    """The endpoint does not take some part of the question; `complaint` is what it says, in lower case."""

    def __init__(self, complaint: str) -> None:
        super().__init__("the endpoint rejects a part of the request")
        self.complaint = complaint


def _http_client(timeout_s: float, *, has_key: bool, is_https: bool) -> httpx.AsyncClient:
    import httpx

    async def bare(request: httpx.Request) -> None:
        """Nothing about this PC, and nobody else's account."""
        sent = _HEADERS if has_key else _HEADERS - {"authorization"}
        for name in set(request.headers) - sent:
            del request.headers[name]
        request.headers["user-agent"] = "pc-worker"

    timeout = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
    # over http there is nothing to verify, and loading the certificates takes a tenth of a second
    return httpx.AsyncClient(verify=is_https, timeout=timeout, follow_redirects=False, event_hooks={"request": [bare]})


def _openai_client(url: str, key: str | None, max_retries: int, http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    from openai import AsyncOpenAI

    # without a key the client refuses to start; the header is taken off again
    return AsyncOpenAI(
        base_url=url, api_key=key or "none", max_retries=max_retries, timeout=http.timeout, http_client=http
    )


def _of_status(error: openai.APIStatusError) -> Exception:
    status, complaint = error.status_code, str(error.body or "")[:2000].lower()
    logger.debug("summary_llm_refused", extra={"status": status})
    if status == 413 or (status in (400, 422, 500) and _TOO_LONG.search(complaint)):
        return TooLongError("context_too_long")
    if status == 400 and _NO_MODEL.search(complaint):
        return LlmError("model_missing")
    if status in _WORTH_ANOTHER_WAY:
        return _DialectError(complaint)
    if status in _STATUS_CAUSES:
        return LlmError(_STATUS_CAUSES[status])
    if status < 400:
        return LlmError("not_an_api")
    return LlmError("server_error" if status >= 500 else "rejected")


def _cause_of_connection(error: Exception) -> str:
    import httpx

    chain = list(_causes(error))
    if any(isinstance(cause, ssl.SSLError) for cause in chain):
        return "tls"
    if any(isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout) for cause in chain):
        return "unreachable"
    if any(isinstance(cause, httpx.TimeoutException) for cause in chain):
        return "timeout"
    broken = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.CloseError)
    return "connection_lost" if any(isinstance(cause, broken) for cause in chain) else "unreachable"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _content_of(body: bytes) -> str:
    try:
        completion = _Completion.model_validate_json(body)
    except ValidationError:
        raise LlmError("not_an_api") from None
    if not completion.choices:
        raise LlmError("empty")
    choice = completion.choices[0]
    if choice.finish_reason == "length":
        raise TooLongError("cut_short")
    if choice.message.refusal or choice.finish_reason == "content_filter":
        raise LlmError("refused")
    if not (choice.message.content or "").strip():
        raise LlmError("empty")
    return choice.message.content or ""
