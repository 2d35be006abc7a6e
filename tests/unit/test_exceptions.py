"""The exception tree is a promise: codes never change, messages are for people, and errors survive the trip home."""

from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

from worker import exceptions
from worker.exceptions import Disposition, FailureKind, PCWorkerException, all_errors, from_code

TREE = [cls for cls in all_errors() if cls.__module__ == exceptions.__name__]
every_error = pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)

PINNED = {
    "audio_checksum_mismatch": ("permanent", "permanent"),
    "audio_corrupted": ("permanent", "permanent"),
    "audio_download_failed": ("infrastructure", "infrastructure"),
    "audio_empty": ("permanent", "permanent"),
    "audio_error": ("retry", "failure"),
    "audio_missing": ("retry", "waiting"),
    "audio_no_stream": ("permanent", "permanent"),
    "audio_not_audio": ("permanent", "permanent"),
    "audio_not_finite": ("permanent", "permanent"),
    "audio_path_refused": ("permanent", "permanent"),
    "audio_preprocessing_failed": ("retry", "failure"),
    "audio_silent": ("permanent", "permanent"),
    "audio_too_big": ("permanent", "permanent"),
    "audio_too_long": ("permanent", "permanent"),
    "audio_too_short": ("permanent", "permanent"),
    "audio_truncated": ("permanent", "permanent"),
    "audio_url_refused": ("permanent", "permanent"),
    "breaker_open": ("stop", "failure"),
    "config_invalid": ("stop", "failure"),
    "database_refused": ("retry", "failure"),
    "database_unreachable": ("infrastructure", "infrastructure"),
    "deadline_exceeded": ("retry", "failure"),
    "disk_failed": ("infrastructure", "infrastructure"),
    "disk_full": ("infrastructure", "infrastructure"),
    "engine_crashed": ("retry", "crash"),
    "engine_failed": ("retry", "failure"),
    "engine_stalled": ("retry", "crash"),
    "gpu_out_of_memory": ("retry", "failure"),
    "gpu_taken": ("stop", "failure"),
    "internal_error": ("retry", "failure"),
    "language_unsupported": ("permanent", "permanent"),
    "lease_lost": ("lease_lost", "failure"),
    "meeting_cancelled": ("lease_lost", "failure"),
    "meeting_gone": ("lease_lost", "failure"),
    "model_unavailable": ("infrastructure", "infrastructure"),
    "out_of_memory": ("retry", "failure"),
    "retry_exhausted": ("infrastructure", "infrastructure"),
    "schema_clash": ("stop", "failure"),
    "schema_mismatch": ("infrastructure", "infrastructure"),
    "storage_unavailable": ("infrastructure", "infrastructure"),
    "supabase_access_denied": ("infrastructure", "infrastructure"),
    "supabase_error": ("infrastructure", "infrastructure"),
    "worker_id_taken": ("stop", "failure"),
    "worker_stopped": ("stop", "failure"),
}
"""Code: (disposition, counts as). Dashboards, scripts and rows of past meetings know these words: add, never rename."""

FAMILIES = {
    "SupabaseError": ["SupabaseConnectionError", "SupabaseQueryError", "SupabaseStorageError"],
    "AudioProcessingError": ["AudioDownloadError", "AudioCorruptedError", "AudioPreprocessingError"],
    "PCWorkerException": ["SupabaseError", "AudioProcessingError", "RetryExhaustedError"],
}


def test_codes_and_dispositions_are_as_promised() -> None:
    assert {cls.code: (cls.disposition.value, cls.counts_as.value) for cls in TREE} == PINNED


def test_no_two_errors_share_a_code() -> None:
    assert [code for code, count in Counter(cls.code for cls in TREE).items() if count > 1] == []


@pytest.mark.parametrize(("parent", "children"), FAMILIES.items())
def test_the_families_stand(parent: str, children: list[str]) -> None:
    assert {getattr(exceptions, child).__base__ for child in children} == {getattr(exceptions, parent)}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class is drawn, under the class it descends from."""
    drawn: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.getdoc(exceptions).splitlines():  # type: ignore[union-attr]  # the module has a docstring
        match = re.match(r"^(\s+(?:[| ]*\+- )?)([A-Z]\w+(?:Error|Exception))\b", line)
        if match:
            depth, name = len(match[1]), match[2]
            above = [(d, n) for d, n in above if d < depth]
            drawn[name] = above[-1][1] if above else None
            above.append((depth, name))
    bases = {cls.__name__: cls.__base__.__name__ if cls.__base__ else None for cls in TREE}
    assert drawn == bases | {"PCWorkerException": None}


@every_error
def test_a_disposition_fits_what_the_failure_counts_as(cls: type[PCWorkerException]) -> None:
    """What is permanent is never tried again, and what is the infrastructure's fault costs the meeting no attempt."""
    assert (cls.disposition is Disposition.PERMANENT) == (cls.counts_as is FailureKind.PERMANENT)
    assert (cls.disposition is Disposition.INFRASTRUCTURE) == (cls.counts_as is FailureKind.INFRASTRUCTURE)


@every_error
def test_a_message_is_a_sentence_for_people(cls: type[PCWorkerException]) -> None:
    """It begins and ends as one, is short, and holds no path of a PC, URL, placeholder or line break."""
    message = str(cls())
    assert re.fullmatch(r"[A-Z].*[.]", message)
    assert 20 <= len(message) <= 250
    assert not re.search(r"(^|\s)[~/]\w|\w:\\|https?:|[{}<>\n]|\bNone\b|Traceback|Error\b|sb_secret|eyJ", message)


@every_error
def test_an_error_comes_home_from_another_process_as_itself(cls: type[PCWorkerException]) -> None:
    error = from_code(cls.code, "The microphone was unplugged.", device="hw:1")
    assert type(error) is cls
    assert str(error) == "The microphone was unplugged."
    assert error.details == {"device": "hw:1"}
    assert str(from_code(cls.code)) == cls.default_message


def test_a_code_from_a_newer_version_is_kept_in_the_details() -> None:
    error = from_code("audio_underwater", "The microphone fell into the lake.")
    assert type(error) is PCWorkerException
    assert str(error) == "The microphone fell into the lake."
    assert error.details["reported_code"] == "audio_underwater"


def test_details_stay_out_of_what_people_read() -> None:
    error = exceptions.AudioEmptyError(path="/home/lab/temp_audio/x.wav")
    assert "/home" not in str(error)
    assert error.details["path"] == "/home/lab/temp_audio/x.wav"


def test_parents_come_before_their_children() -> None:
    seen: set[type] = set()
    for cls in all_errors():
        assert cls is PCWorkerException or cls.__base__ in seen
        seen.add(cls)
