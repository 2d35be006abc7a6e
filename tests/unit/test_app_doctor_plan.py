"""What doctor says of plan, GPU and libraries: as an engine would plan, and in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.doctor_set_ups import GOOD_PC, GPU, GPU_STATE
from tests.support.postgrest import free_port
from tests.support.settings import settings_in
from worker.adapters.gpu_libraries import foreign_cudnn, is_engine
from worker.app_doctor_check import State
from worker.app_doctor_pc import PcSenses
from worker.app_doctor_plan import cuda_check, plan_check, settings_with_model
from worker.app_model_choice import chosen_model
from worker.config import Settings

NO_GPU = replace(GOOD_PC, gpu=lambda number, visible: None)
NOBODY = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"}


def whisperx_in(folder: Path, **variables: str) -> Settings:
    return settings_in(folder, ASR_ENGINE="whisperx", **variables)


def with_free(free_bytes: int) -> PcSenses:
    return replace(GOOD_PC, gpu_state=lambda _: GPU_STATE.model_copy(update={"free_bytes": free_bytes}))


def test_the_plan_is_told_with_its_reasons_and_what_comes_below(tmp_path: Path) -> None:
    told = plan_check(whisperx_in(tmp_path), {}, GOOD_PC)
    assert told.state is State.OK
    assert "large-v3 in float16 with 16 passages at once, on the GPU" in told.sentence
    assert "24.0 GB" in told.sentence
    assert "When memory runs out" in told.sentence


def test_pins_and_squeezes_are_seen_in_it(tmp_path: Path) -> None:
    pinned = plan_check(whisperx_in(tmp_path, WHISPER_MODEL="medium", WHISPER_BATCH_SIZE="4"), {}, GOOD_PC)
    assert "medium in float16 with 4 passages" in pinned.sentence
    squeezed = plan_check(whisperx_in(tmp_path), {}, with_free(6 * 10**9))
    assert "int8_float16" in squeezed.sentence
    assert "would not fit" in squeezed.sentence


def test_without_a_gpu_the_cpu_is_named(tmp_path: Path) -> None:
    for senses, variables in ((NO_GPU, {}), (GOOD_PC, {"ENABLE_GPU": "false"})):
        told = plan_check(whisperx_in(tmp_path, **variables), {}, senses)
        assert "in int8" in told.sentence
        assert "on the CPU" in told.sentence
        assert cuda_check(whisperx_in(tmp_path, **variables), {}, senses).state is State.OK


def test_what_doctor_calls_the_model_does_not_depend_on_what_is_free(tmp_path: Path) -> None:
    """It is what gets downloaded."""
    for senses in (GOOD_PC, with_free(3 * 10**9)):
        assert settings_with_model(whisperx_in(tmp_path), {}, senses).whisper_model == "large-v3"
    assert settings_with_model(whisperx_in(tmp_path, WHISPER_MODEL="tiny"), {}, GOOD_PC).whisper_model == "tiny"


def test_a_pc_without_a_hub_speaks_of_the_model_that_is_here(tmp_path: Path) -> None:
    settings = whisperx_in(tmp_path)
    folder = settings.model_cache_dir / "whisper/models--Systran--faster-whisper-medium/snapshots/abc"
    folder.mkdir(parents=True)
    (folder / "model.bin").touch()
    assert settings_with_model(settings, NOBODY, GOOD_PC).whisper_model == "medium"
    offline = whisperx_in(tmp_path, MODELS_OFFLINE="true")
    assert settings_with_model(offline, {}, GOOD_PC).whisper_model == "medium"
    assert chosen_model(whisperx_in(tmp_path, WHISPER_MODEL="tiny")) == "tiny"


def test_a_gpu_that_says_nothing_of_itself_is_a_warning(tmp_path: Path) -> None:
    told = cuda_check(whisperx_in(tmp_path), {}, replace(GOOD_PC, gpu_state=lambda _: None))
    assert (told.state, "driver" in told.sentence) == (State.WARNING, True)


def test_an_instance_of_a_shared_gpu_is_named(tmp_path: Path) -> None:
    senses = replace(
        GOOD_PC,
        gpu=lambda number, visible: GPU.model_copy(update={"uuid": "MIG-1"}),
        gpu_state=lambda _: GPU_STATE,
    )
    assert "MIG" in cuda_check(whisperx_in(tmp_path), {}, senses).sentence


def test_another_cudnn_in_the_path_of_libraries_is_a_warning(tmp_path: Path) -> None:
    assert not foreign_cudnn(f"{tmp_path}::/nowhere")
    (tmp_path / "libcudnn_ops.so.8").touch()
    told = cuda_check(whisperx_in(tmp_path), {"LD_LIBRARY_PATH": f"/usr/lib/none:{tmp_path}"}, GOOD_PC)
    assert (told.state, "LD_LIBRARY_PATH" in told.sentence) == (State.WARNING, True)
    assert str(tmp_path) not in told.sentence


@pytest.mark.parametrize("pid", [1, 2**30])
def test_other_programs_are_no_engines(pid: int) -> None:
    """What an engine of a running worker holds counts as free; what others hold does not."""
    assert not is_engine(pid)
