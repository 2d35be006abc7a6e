"""Every exception of storage3, httpx and aiohttp becomes one of ours, and nothing of its text comes along."""

from __future__ import annotations

import importlib
import pkgutil
import ssl
from types import ModuleType

import aiohttp
import httpx
import pytest
import storage3
from storage3.exceptions import StorageApiError

from worker.adapters.storage_errors import Passing, mapped, refusal
from worker.exceptions import (
    AudioDownloadError,
    AudioMissingError,
    AudioPathRefusedError,
    PCWorkerException,
    SupabaseAccessError,
    SupabaseStorageError,
)

SECRET = "https://project/storage/v1/object/sign/a?token=eyJsecret"
NOT_OURS_TO_MEET = {
    "aiohttp.web",  # of servers
    "aiohttp.worker",
    "aiohttp.test_utils",
    "aiohttp.pytest_plugin",
}


def modules_of(package: ModuleType) -> list[ModuleType]:
    found = [package]
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        name = info.name
        if not any(name.startswith(skipped) for skipped in NOT_OURS_TO_MEET) and not name.startswith("httpx._main"):
            found.append(importlib.import_module(name))
    return found


def exceptions_of(package: ModuleType) -> set[type[Exception]]:
    """All that the package defines, wherever, and all that is derived from them."""
    found = {
        value
        for module in modules_of(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__.split(".")[0] == package.__name__
    }
    waiting = list(found)
    while waiting:
        for child in waiting.pop().__subclasses__():
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def test_no_exception_is_left_out() -> None:
    """A new one of a new version is listed here by its name."""
    unmapped = []
    for package in (storage3, httpx, aiohttp):
        found = exceptions_of(package)
        assert len(found) > 2
        for cls in found:
            ours = mapped(cls.__new__(cls))
            if not isinstance(ours.ours if isinstance(ours, Passing) else ours, PCWorkerException):
                unmapped.append(cls)
    assert unmapped == []


def test_nothing_of_a_foreign_text_comes_along() -> None:
    """aiohttp's and httpx's texts hold addresses, and those hold signatures."""
    errors = [
        aiohttp.ClientError(SECRET),
        httpx.HTTPError(SECRET),
        StorageApiError(SECRET, SECRET, "500"),
        OSError(SECRET),
    ]
    for error in [*errors, aiohttp.InvalidURL(SECRET), httpx.InvalidURL(SECRET), ssl.SSLCertVerificationError(SECRET)]:
        found = mapped(error)
        ours = found.ours if isinstance(found, Passing) else found
        assert ours is not None
        assert "secret" not in f"{found!r} {ours!r} {ours} {ours.details}"


@pytest.mark.parametrize("error", [ValueError(), RuntimeError(), AssertionError(), MemoryError(), KeyboardInterrupt()])
def test_what_is_none_of_theirs_is_a_mistake_of_ours(error: BaseException) -> None:
    """And shall be seen as one."""
    assert mapped(error) is None


def test_a_certificate_is_named_however_deep_it_is_wrapped() -> None:
    """Waiting does not help, and the reason is in this PC or its network."""
    error = httpx.ConnectError("")
    error.__cause__ = OSError()
    error.__cause__.__context__ = ssl.SSLCertVerificationError()
    found = mapped(error)
    assert isinstance(found, AudioDownloadError)
    assert "certificate" in str(found)


JUDGED = [
    ("404", "not_found", "Object not found", AudioMissingError),
    ("404", "Not found", "The resource was not found", AudioMissingError),  # S3: the row is there, the bytes are not
    ("404", "Bucket not found", "Bucket not found", SupabaseStorageError),
    ("403", "Unauthorized", "Invalid Compact JWS", SupabaseAccessError),
    ("403", "Unauthorized", '"exp" claim timestamp check failed', SupabaseAccessError),
    (401, "InternalError", "Unable to parse error message: Invalid API key", SupabaseAccessError),
    ("500", "DatabaseError", "database error, code: 22023", SupabaseAccessError),
    ("400", "InvalidKey", "Invalid key: a#.wav", AudioPathRefusedError),
    ("400", "Error", "body/expiresIn must be >= 1", SupabaseStorageError),
]


@pytest.mark.parametrize(("status", "error", "message", "expected"), JUDGED)
def test_what_will_not_pass(status: object, error: str, message: str, expected: type[PCWorkerException]) -> None:
    """Decided by the body of an answer that is mostly HTTP 400; older versions have no `code` in it."""
    assert type(refusal(status, error, message)) is expected


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("429", "too_many_connections"),
        ("423", "ResourceLocked"),
        ("500", "Internal"),
        ("503", "DatabaseReadOnly"),
        ("544", "DatabaseTimeout"),
        ("400", "InvalidJWT"),
        ("400", "InvalidSignature"),
        (502, "InternalError"),
        (404, "Not Found"),  # of a gateway that has lost its way
        (302, "InternalError"),  # the login page of a network
    ],
)
def test_what_may_pass(status: object, error: str) -> None:
    found = refusal(status, error, "")
    assert isinstance(found, Passing)
    assert type(found.ours) is SupabaseStorageError
