"""Models from the hub, by its real client against a hub of the test's own: whole, resumed, verified, and in words."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_hub import (
    BAD_TOKEN,
    DOWN,
    NO_MODEL,
    NO_TERMS,
    NO_TOKEN,
    NOT_SAID,
    REVISION,
    TOO_OFTEN,
    WEAK_TOKEN,
    FakeHub,
    Refusal,
)
from worker.adapters.models_hub import PAPERS, problem_of, pull, wanted_files
from worker.adapters.models_place import Model, find, is_complete
from worker.exceptions import DiskFullError, ModelUnavailableError
from worker.ports import unheard

REPOSITORY = "Systran/faster-whisper-small"
WEIGHTS = bytes(range(256)) * 10_000
FILES = {
    "config.json": b"{}",
    "model.bin": WEIGHTS,
    "tokenizer.json": b"[1]",
    "vocabulary.txt": b"a b",
    "README.md": b"# A model",
    "onnx/model.onnx": b"another format" * 100,
}
SMALL = Model(
    name="small",
    kind="whisper",
    room="whisper",
    repository=REPOSITORY,
    patterns=("config.json", "model.bin", "tokenizer.json", "vocabulary.*"),
    needs=("model.bin", "config.json"),
)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub({REPOSITORY: FILES}) as hub:
        yield hub


def pulled(hub: FakeHub, cache: Path, token: str | None = None) -> str:
    return pull(SMALL, cache, token=token, endpoint=hub.url, report=unheard).revision


def test_what_an_engine_reads_and_the_papers_arrive_and_nothing_else(hub: FakeHub, tmp_path: Path) -> None:
    assert pulled(hub, tmp_path) == REVISION
    found = find(tmp_path, SMALL)
    assert found is not None
    assert set(found.files) == set(FILES) - {"onnx/model.onnx"}
    assert all((found.folder / name).read_bytes() == FILES[name] for name in found.files)
    assert is_complete(tmp_path, SMALL, found)


def test_the_engine_finds_it_without_a_hub(hub: FakeHub, tmp_path: Path) -> None:
    """By faster-whisper's own function, which is not allowed to ask."""
    from worker.engine.whisper_files import whisper_folder

    pulled(hub, tmp_path)
    found = find(tmp_path, SMALL)
    assert found is not None
    assert whisper_folder("small", tmp_path / "whisper", offline=True) == found.folder


def test_a_line_that_breaks_in_the_middle_is_gone_on_with(hub: FakeHub, tmp_path: Path) -> None:
    """The client alone would end there; what it has kept is whole megabytes."""
    hub.cut_after = 1_500_000
    pulled(hub, tmp_path)
    assert hub.ranges == ["bytes=1048576-"]


def test_a_second_pull_fetches_nothing(hub: FakeHub, tmp_path: Path) -> None:
    pulled(hub, tmp_path)
    hub.requests.clear()
    pulled(hub, tmp_path)
    assert hub.fetched("model.bin") == 0


def test_a_file_that_was_damaged_on_the_disk_is_fetched_anew(hub: FakeHub, tmp_path: Path) -> None:
    pulled(hub, tmp_path)
    found = find(tmp_path, SMALL)
    assert found is not None
    weights = found.folder / "model.bin"
    weights.write_bytes(WEIGHTS[:-1] + b"x")
    pulled(hub, tmp_path)
    assert weights.read_bytes() == WEIGHTS


def test_wrong_bytes_of_the_right_length_are_refused_and_not_kept(hub: FakeHub, tmp_path: Path) -> None:
    """The hub's client looks at the length alone."""
    hub.damaged = {"model.bin"}
    with pytest.raises(ModelUnavailableError, match=r"model\.bin of the model small arrives damaged"):
        pulled(hub, tmp_path)
    assert find(tmp_path, SMALL) is None
    hub.damaged = set()
    pulled(hub, tmp_path)


def test_progress_ends_at_one_and_never_falls(hub: FakeHub, tmp_path: Path) -> None:
    told: list[float] = []
    pull(SMALL, tmp_path, token=None, endpoint=hub.url, report=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_safe_weights_are_taken_where_there_are_both() -> None:
    """A pickle of the same weights would be a second download, and a file that can run code."""
    from huggingface_hub.hf_api import ModelInfo

    both = ("model.safetensors", "pytorch_model.bin")
    for names, expected in ((both, {"model.safetensors"}), (both[1:], {"pytorch_model.bin"})):
        siblings = [{"rfilename": name, "size": 1, "blobId": "x"} for name in names]
        info = ModelInfo(id="a/b", sha=REVISION, siblings=siblings)  # type: ignore[no-untyped-call]  # its own lack
        assert {file.name for file in wanted_files(info, both)} == expected
    assert "README.md" in PAPERS


def test_the_token_goes_to_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    pulled(hub, tmp_path, token="hf_test")
    assert {seen.token for seen in hub.requests} == {"Bearer hf_test"}


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (NO_TOKEN, "wants a token. Accept its terms"),
        (NO_TERMS, "has not accepted the terms"),
        (NO_MODEL, "The hub has no model Systran/faster-whisper-small"),
        (NOT_SAID, "The hub has no model Systran/faster-whisper-small"),
        (BAD_TOKEN, "refuses HF_TOKEN"),
        (WEAK_TOKEN, "Give the token the right"),
        (TOO_OFTEN, "asked too often"),
        (DOWN, "a problem of its own"),
        (Refusal(404, "RevisionNotFound"), "where they should be"),
    ],
)
def test_each_refusal_of_the_hub_says_what_to_do(hub: FakeHub, tmp_path: Path, refusal: Refusal, words: str) -> None:
    hub.refusal = refusal
    with pytest.raises(ModelUnavailableError, match=words) as caught:
        pulled(hub, tmp_path, token="hf_secret")
    assert "hf_secret" not in str(caught.value) + str(caught.value.details)


def test_a_hub_that_is_not_there_says_so(tmp_path: Path) -> None:
    with FakeHub({}) as gone:
        url = gone.url
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        pull(SMALL, tmp_path, token=None, endpoint=url, report=unheard)


def test_errors_that_cannot_be_provoked_are_told_apart() -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    wrapped = LocalEntryNotFoundError("not here either")
    wrapped.__cause__ = OfflineModeIsEnabled("HF_HUB_OFFLINE=1")
    assert "HF_HUB_OFFLINE" in str(problem_of(wrapped, SMALL))
    full = problem_of(OSError(errno.ENOSPC, "No space left on device"), SMALL)
    assert isinstance(full, DiskFullError)
    assert "MODEL_CACHE_DIR" in str(full)
    assert "cannot be written" in str(problem_of(PermissionError(errno.EACCES, "no"), SMALL))


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(DiskFullError, match="no room for the model small"):
        pulled(hub, tmp_path)
    assert hub.fetched("model.bin") == 0


def test_the_bytes_are_the_publishers(hub: FakeHub, tmp_path: Path) -> None:
    """In the hub's cache a large file is named by what is in it."""
    pulled(hub, tmp_path)
    blob = (
        tmp_path / "whisper" / "models--Systran--faster-whisper-small" / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()
    )
    assert blob.read_bytes() == WEIGHTS
