"""What a PC computes with: the published safe table on a free GPU, less where less is free, pins as they are."""

from __future__ import annotations

import pytest

from worker.engine.catalogue import WHISPER_MODELS
from worker.engine.planner import Machine, Wishes, facts_of, plan_for, rungs_for, vram_bytes
from worker.models import EnginePlan, GpuState

HOUR_S = 3600.0
GIB = 1024**3


def gpu(total_gib: float, *, free_gib: float | None = None, capability: tuple[int, int] = (8, 6)) -> GpuState:
    free_gib = total_gib * 0.95 if free_gib is None else free_gib
    return GpuState(
        name="NVIDIA X",
        uuid="GPU-1",
        driver="570.1",
        total_bytes=int(total_gib * GIB),
        free_bytes=int(free_gib * GIB),
        compute_capability=capability,
    )


def machine(found: GpuState | None = None, *, num_threads: int = 8, ram_gib: float = 16) -> Machine:
    return Machine(found, num_threads=num_threads, ram_bytes=int(ram_gib * GIB))


def planned(found: GpuState | None, *, audio_s: float = HOUR_S, **wishes: object) -> EnginePlan:
    return plan_for(machine(found), audio_s, Wishes(**wishes))  # type: ignore[arg-type]  # each test names one


def steps(rungs: tuple[EnginePlan, ...]) -> list[tuple[str, str, str, int]]:
    return [(rung.model, rung.device, rung.compute_type, rung.batch_size) for rung in rungs]


@pytest.mark.parametrize(
    ("total_gib", "model", "batch_size"),
    [(4, "small", 2), (6, "turbo", 4), (8, "turbo", 8), (12, "large-v3", 16), (24, "large-v3", 16)],
)
def test_a_free_gpu_gets_the_published_safe_plan(total_gib: float, model: str, batch_size: int) -> None:
    plan = planned(gpu(total_gib))
    assert (plan.model, plan.compute_type, plan.batch_size, plan.device) == (model, "float16", batch_size, "cuda")


def test_a_lab_that_speaks_english_only_gets_turbo() -> None:
    """As good on long recordings, and twice as fast."""
    assert planned(gpu(24), languages=("en",)).model == "turbo"
    assert planned(gpu(24), languages=("de", "en")).model == "large-v3"


@pytest.mark.parametrize("free_gib", [1, 2, 3, 4, 5, 6, 8, 10, 11.5])
@pytest.mark.parametrize("model", ["auto", "large-v3", "turbo", "small"])
def test_a_plan_fits_into_what_is_free_or_says_that_it_may_not(free_gib: float, model: str) -> None:
    plan = planned(gpu(12, free_gib=free_gib), model=model)
    fits = vram_bytes(plan) < free_gib * GIB - 1.5e9
    assert fits or any("may not fit" in reason for reason in plan.reasons)


def test_less_free_memory_means_a_smaller_batch_first_and_then_another_format() -> None:
    assert planned(gpu(12, free_gib=8)).batch_size < 16
    assert planned(gpu(12, free_gib=8)).compute_type == "float16"
    tight = planned(gpu(12, free_gib=5.5))
    assert (tight.model, tight.compute_type) == ("large-v3", "int8_float16")
    assert any("would not fit" in reason for reason in tight.reasons)


def test_the_ladder_goes_down_in_the_order_of_the_design() -> None:
    """Half the batch down to 2, int8, smaller models."""
    assert steps(rungs_for(machine(gpu(8)), HOUR_S, Wishes())) == [
        ("turbo", "cuda", "float16", 8),
        ("turbo", "cuda", "float16", 4),
        ("turbo", "cuda", "float16", 2),
        ("turbo", "cuda", "int8_float16", 2),
        ("small", "cuda", "float16", 4),
        ("small", "cuda", "int8_float16", 2),
        ("base", "cuda", "float16", 4),
        ("base", "cuda", "int8_float16", 2),
    ]


def test_each_rung_takes_no_more_than_the_one_above() -> None:
    for found in (gpu(4), gpu(6), gpu(8), gpu(24)):
        taken = [vram_bytes(rung) for rung in rungs_for(machine(found), HOUR_S, Wishes(allow_cpu_fallback=True))]
        same_model = [WHISPER_MODELS[r.model].num_parameters for r in rungs_for(machine(found), HOUR_S, Wishes())]
        assert same_model == sorted(same_model, reverse=True)
        assert taken[-1] == 0
        assert min(taken[:-1]) < taken[0]


def test_smaller_models_and_the_cpu_only_where_they_are_allowed() -> None:
    strict = rungs_for(machine(gpu(8)), HOUR_S, Wishes(allow_smaller_model=False))
    assert {rung.model for rung in strict} == {"turbo"}
    assert {rung.device for rung in rungs_for(machine(gpu(8)), HOUR_S, Wishes())} == {"cuda"}
    last = rungs_for(machine(gpu(8)), HOUR_S, Wishes(allow_smaller_model=False, allow_cpu_fallback=True))[-1]
    assert (last.device, last.compute_type) == ("cpu", "int8")


def test_every_part_can_be_pinned() -> None:
    plan = planned(gpu(24), model="medium", compute_type="bfloat16", batch_size=6, unload_asr=True)
    assert steps((plan,)) == [("medium", "cuda", "bfloat16", 6)]
    assert plan.unload_asr
    formats = {rung.compute_type for rung in rungs_for(machine(gpu(24)), HOUR_S, Wishes(compute_type="float32"))}
    assert formats == {"float32"}


def test_a_format_that_the_gpu_does_not_know_is_not_tried() -> None:
    """CTranslate2 would refuse to load."""
    plan = planned(gpu(16, capability=(7, 5)), compute_type="bfloat16")
    assert plan.compute_type == "float16"
    assert any("8.0" in reason for reason in plan.reasons)


@pytest.mark.parametrize(
    ("found", "word"), [(gpu(11, capability=(6, 1)), "6.1"), (gpu(2), "too little"), (None, "No GPU")]
)
def test_without_a_usable_gpu_the_cpu_computes_in_int8_and_the_reason_is_given(
    found: GpuState | None, word: str
) -> None:
    """Pascal is none of torch's for CUDA 12.8."""
    plan = planned(found)
    assert (plan.device, plan.compute_type, plan.batch_size) == ("cpu", "int8", 4)
    assert word in plan.reasons[0]


@pytest.mark.parametrize(
    ("num_threads", "ram_gib", "model"),
    [(8, 16, "small"), (2, 8, "small"), (1, 8, "base"), (4, 3, "base"), (4, 2, "tiny")],
)
def test_a_cpu_gets_the_model_that_its_threads_and_memory_are_good_for(
    num_threads: int, ram_gib: float, model: str
) -> None:
    plan = plan_for(machine(num_threads=num_threads, ram_gib=ram_gib), HOUR_S, Wishes())
    assert plan.model == model


def test_a_format_for_gpus_is_none_for_the_cpu() -> None:
    assert planned(None, compute_type="float16").compute_type == "int8"
    assert planned(None, compute_type="float32").compute_type == "float32"


def test_more_passages_than_the_recording_has_are_not_planned_for() -> None:
    assert planned(gpu(24), audio_s=100.0).batch_size == 4
    assert planned(gpu(24), audio_s=1.0).batch_size == 2


def test_whisper_is_unloaded_when_diarization_would_not_fit_beside_it() -> None:
    """pyannote takes the more the longer the recording; the bundled one does not."""
    assert planned(gpu(12), audio_s=4 * HOUR_S).unload_asr
    assert not planned(gpu(12), audio_s=4 * HOUR_S, diarizer="bundled").unload_asr
    assert not planned(gpu(24), audio_s=600.0).unload_asr


def test_without_the_hub_the_best_that_is_here_is_taken() -> None:
    def offline(found: GpuState | None, *names: str) -> str:
        return planned(found, at_hand=frozenset(names), can_fetch=False).model

    assert offline(gpu(8), "small", "medium", "large-v3") == "medium"
    assert offline(gpu(24), "small", "medium", "large-v3") == "large-v3"
    assert offline(None, "base") == "base"
    assert offline(gpu(8), "large-v3") == "large-v3", "larger ones only where there is no other"
    assert offline(gpu(8)) == "turbo", "which is then missed by its name"
    assert planned(gpu(8), at_hand=frozenset({"small"})).model == "turbo", "fetched, as doctor says"


def test_smaller_models_are_gone_down_to_only_where_they_are_here() -> None:
    """An emergency is no time for a download."""
    rungs = rungs_for(machine(gpu(8)), HOUR_S, Wishes(at_hand=frozenset({"base"})))
    assert {rung.model for rung in rungs} == {"turbo", "base"}


def test_the_model_of_auto_does_not_depend_on_what_is_free() -> None:
    """Or a passing squeeze would download another one than doctor said."""
    assert {rungs_for(machine(gpu(12, free_gib=free)), HOUR_S, Wishes())[0].model for free in (5, 8, 12)} == {
        "large-v3"
    }


def test_a_model_of_ones_own_has_no_stand_in() -> None:
    rungs = rungs_for(machine(gpu(8)), HOUR_S, Wishes(model="/srv/models/our-large-v3-turbo"))
    assert {rung.model for rung in rungs} == {"/srv/models/our-large-v3-turbo"}
    assert facts_of("/srv/models/our-large-v3-turbo").name == "turbo"
    assert facts_of("owner/thing").name == "large-v3"


def test_an_english_model_is_followed_by_english_ones() -> None:
    models = [rung.model for rung in rungs_for(machine(gpu(8)), HOUR_S, Wishes(model="medium.en"))]
    assert list(dict.fromkeys(models)) == ["medium.en", "small.en", "base.en"]
