"""What the hub says about a pipeline that is not here, as a remedy; a hub on this PC, asked through its own client."""

from __future__ import annotations

import errno
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
    WEAK_TOKEN,
    FakeHub,
    Refusal,
)
from worker.engine.pyannote_models import Hub, pipeline_at_hand, pipeline_folder
from worker.exceptions import ModelUnavailableError

NAME = "pyannote/speaker-diarization-community-1"
FILES = {
    "config.yaml": b"params:\n  segmentation: $model/segmentation\n  plda: $model/plda\n",
    "segmentation/pytorch_model.bin": b"w" * 5000,
    "plda/plda.npz": b"p" * 2000,
    "plda/xvec_transform.npz": b"x" * 10,
    "README.md": b"CC-BY-4.0",
    "diarization.gif": b"g" * 9000,
}


def test_a_pipeline_is_fetched_once_with_the_token_and_found_from_then_on(tmp_path: Path) -> None:
    with FakeHub({NAME: FILES}) as fake:
        hub = Hub(token="hf_secret", address=fake.url, is_offline=False)
        folder = pipeline_folder(NAME, tmp_path, hub)
        num_requests = len(fake.requests)
        assert pipeline_folder(NAME, tmp_path, hub) == folder
    assert len(fake.requests) == num_requests, "the second time nobody is asked"
    assert folder.name == REVISION
    assert {request.token for request in fake.requests} == {"Bearer hf_secret"}
    assert fake.fetched("diarization.gif") == 0, "only what the pipeline is made of"
    assert (folder / "README.md").read_bytes() == b"CC-BY-4.0", "and its licence"


@pytest.mark.parametrize(
    ("refusal", "token", "remedy"),
    [
        (NO_TOKEN, None, "set it as HF_TOKEN"),
        (NOT_SAID, None, "set it as HF_TOKEN"),
        (NO_TERMS, "hf_x", "accept the terms"),
        (WEAK_TOKEN, "hf_x", "accept the terms"),
        (BAD_TOKEN, "hf_x", "refuses HF_TOKEN"),
        (NO_MODEL, "hf_x", "Correct PYANNOTE_MODEL"),
        (DOWN, "hf_x", "cannot be reached"),
    ],
)
def test_each_refusal_has_its_remedy(tmp_path: Path, refusal: Refusal, token: str | None, remedy: str) -> None:
    with (
        FakeHub({NAME: FILES}, refusal=refusal) as fake,
        pytest.raises(ModelUnavailableError, match=remedy) as caught,
    ):
        pipeline_folder(NAME, tmp_path, Hub(token=token, address=fake.url, is_offline=False))
    assert "DIARIZER=bundled works" in str(caught.value)
    assert fake.url not in f"{caught.value} {caught.value.details}"


def test_a_hub_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="cannot be reached"):
        pipeline_folder(NAME, tmp_path, Hub(token="hf_x", address="http://127.0.0.1:9", is_offline=False))


def test_a_download_that_breaks_off_is_no_pipeline_and_goes_on_the_next_time(tmp_path: Path) -> None:
    with FakeHub({NAME: FILES}, cut_after=1000, num_cuts=100) as fake:
        hub = Hub(token="hf_x", address=fake.url, is_offline=False)
        with pytest.raises(ModelUnavailableError):
            pipeline_folder(NAME, tmp_path, hub)
        assert pipeline_at_hand(NAME, tmp_path) is None
        fake.cut_after = None
        assert pipeline_folder(NAME, tmp_path, hub).name == REVISION


def test_a_repository_without_a_pipeline_is_said(tmp_path: Path) -> None:
    with (
        FakeHub({NAME: {"README.md": b"nothing here"}}) as fake,
        pytest.raises(ModelUnavailableError, match="Correct PYANNOTE_MODEL"),
    ):
        pipeline_folder(NAME, tmp_path, Hub(token="hf_x", address=fake.url, is_offline=False))


def test_a_full_disk_stays_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's server makes DiskFullError of it, and the worker waits for room."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(OSError, match="No space left"):
        pipeline_folder(NAME, tmp_path, Hub(token="hf_x", address="http://127.0.0.1:9", is_offline=False))
