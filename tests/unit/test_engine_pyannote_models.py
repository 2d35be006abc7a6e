"""Where pyannote's pipeline is found without a hub, and which diarizer that makes of DIARIZER=auto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from worker.engine.diarizer_choice import choose_diarizer
from worker.engine.pyannote_models import (
    Hub,
    is_complete,
    is_repository,
    pipeline_at_hand,
    pipeline_folder,
    revision_of,
)
from worker.exceptions import ModelUnavailableError

NAME = "pyannote/speaker-diarization-community-1"
OFFLINE = Hub(token="hf_x", address="http://127.0.0.1:9", is_offline=True)
REACHABLE = Hub(token="hf_x", address="http://127.0.0.1:9", is_offline=False)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write(folder: Path, *, without: str = "") -> Path:
    """The layout of community-1; the weights are a few letters."""
    (folder / "segmentation").mkdir(parents=True)
    (folder / "plda").mkdir()
    (folder / "config.yaml").write_text("params:\n  segmentation: $model/segmentation\n  plda: $model/plda\n")
    (folder / "segmentation" / "pytorch_model.bin").write_bytes(b"weights")
    for name in ("plda.npz", "xvec_transform.npz"):
        (folder / "plda" / name).write_bytes(b"plda")
    if without:
        (folder / without).unlink()
    return folder


def snapshot(cache: Path, commit: str, *, without: str = "") -> Path:
    repository = cache / "models--pyannote--speaker-diarization-community-1"
    return write(repository / "snapshots" / commit, without=without)


def point_to(cache: Path, commit: str) -> None:
    (cache / "models--pyannote--speaker-diarization-community-1" / "refs").mkdir(parents=True)
    (cache / "models--pyannote--speaker-diarization-community-1" / "refs" / "main").write_text(commit)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path / "copied")
    assert pipeline_folder(str(folder), tmp_path / "cache", OFFLINE) == folder


def test_the_cache_is_enough_and_the_hub_is_not_asked(tmp_path: Path) -> None:
    """Not even with a token and a network: a PC keeps the version that it has."""
    folder = snapshot(tmp_path, COMMIT)
    assert pipeline_folder(NAME, tmp_path, REACHABLE) == folder


def test_of_several_versions_the_one_that_the_hub_called_main_is_taken(tmp_path: Path) -> None:
    folders = [snapshot(tmp_path, commit) for commit in ("a" * 40, "b" * 40, "c" * 40)]
    point_to(tmp_path, "b" * 40)
    assert pipeline_at_hand(NAME, tmp_path) == folders[1]


def test_a_download_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    snapshot(tmp_path, COMMIT, without="segmentation/pytorch_model.bin")
    point_to(tmp_path, COMMIT)
    assert pipeline_at_hand(NAME, tmp_path) is None
    whole = snapshot(tmp_path, "d" * 40)
    assert pipeline_at_hand(NAME, tmp_path) == whole


@pytest.mark.parametrize("missing", ["config.yaml", "segmentation/pytorch_model.bin", "plda/xvec_transform.npz"])
def test_a_folder_is_complete_with_all_that_its_configuration_names(tmp_path: Path, missing: str) -> None:
    assert is_complete(write(tmp_path / "whole"))
    assert not is_complete(write(tmp_path / "part", without=missing))


def test_a_wrong_folder_is_named_by_its_setting_and_not_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(ModelUnavailableError, match=r"folder PYANNOTE_MODEL holds no .*config\.yaml") as caught:
        pipeline_folder(str(tmp_path / "secret"), tmp_path, REACHABLE)
    assert "secret" not in f"{caught.value} {caught.value.details}"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="no such folder as PYANNOTE_MODEL says"):
        pipeline_folder(str(tmp_path / "gone"), tmp_path, REACHABLE)


def test_offline_means_that_the_hub_is_not_asked(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="MODELS_OFFLINE forbids"):
        pipeline_folder(NAME, tmp_path, OFFLINE)


@pytest.mark.parametrize(
    ("model", "is_name"),
    [(NAME, True), ("community-1", False), ("./a/b", False), ("/a/b", False), ("a/b/c", False), ("../b", False)],
)
def test_a_name_on_the_hub_has_an_owner(model: str, is_name: bool) -> None:
    assert is_repository(model) == is_name


def test_the_revision_is_the_hubs_commit_or_a_checksum_of_everything(tmp_path: Path) -> None:
    assert revision_of(snapshot(tmp_path, COMMIT)) == COMMIT
    one, same, other = (write(tmp_path / name) for name in ("one", "same", "other"))
    (other / "segmentation" / "pytorch_model.bin").write_bytes(b"fine-tuned")
    assert revision_of(one).startswith("sha256:")
    assert revision_of(one) == revision_of(same) != revision_of(other)


def test_a_diarizer_asked_for_by_name_is_never_swapped(tmp_path: Path) -> None:
    """Even where it cannot work: then the meeting says so instead of having other speakers than yesterday."""
    for asked in ("pyannote", "bundled"):
        choice = choose_diarizer(
            asked=asked, model=NAME, cache=tmp_path, has_token=False, offline=True, hub_answers=lambda: False
        )
        assert choice.diarizer == asked


@pytest.mark.parametrize(
    ("has_token", "offline", "answers", "diarizer", "says"),
    [
        (True, False, True, "pyannote", "is fetched"),
        (True, False, False, "bundled", "does not answer"),
        (True, True, True, "bundled", "MODELS_OFFLINE"),
        (False, False, True, "bundled", "HF_TOKEN is not set"),
    ],
)
def test_auto_is_pyannote_if_it_can_be_had(
    tmp_path: Path, has_token: bool, offline: bool, answers: bool, diarizer: str, says: str
) -> None:
    choice = choose_diarizer(
        asked="auto", model=NAME, cache=tmp_path, has_token=has_token, offline=offline, hub_answers=lambda: answers
    )
    assert choice.diarizer == diarizer
    assert says in choice.reason


def test_auto_asks_nobody_when_the_pipeline_is_here(tmp_path: Path) -> None:
    def never() -> bool:
        raise AssertionError("the hub was asked")

    snapshot(tmp_path, COMMIT)
    for model in (NAME, str(write(tmp_path / "folder"))):
        choice = choose_diarizer(
            asked="auto", model=model, cache=tmp_path, has_token=False, offline=True, hub_answers=never
        )
        assert choice.diarizer == "pyannote"


def test_auto_with_a_folder_that_holds_nothing_is_bundled_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    choice = choose_diarizer(
        asked="auto",
        model=str(tmp_path / "empty"),
        cache=tmp_path,
        has_token=True,
        offline=False,
        hub_answers=lambda: True,
    )
    assert choice.diarizer == "bundled"
    assert "PYANNOTE_MODEL" in choice.reason


def test_choosing_imports_no_torch() -> None:
    """The doctor asks in the supervisor's world, where torch would cost seconds and a hundred megabytes."""
    check = "import sys, worker.engine.diarizer_choice; sys.exit('torch' in sys.modules or 'pyannote' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
