"""The doctor's room for what an engine would compute with: the plan, and whether GPU and libraries are fit for it."""

from __future__ import annotations

from collections.abc import Mapping

from worker.adapters.gpu_libraries import foreign_cudnn
from worker.app_children import child_environment
from worker.app_doctor_check import Check, State
from worker.app_doctor_pc import PcSenses
from worker.app_model_choice import plans_seen
from worker.config import Settings
from worker.engine.planner import OLDEST_CAPABILITY, in_words
from worker.models import EnginePlan, GpuFacts

USUAL_S = 3600.0
"""The plan is told for a recording of an hour; shorter ones need no more."""


def settings_with_model(settings: Settings, environ: Mapping[str, str] | None, senses: PcSenses) -> Settings:
    """WHISPER_MODEL=auto replaced by what it comes to here."""
    if settings.asr_engine == "sphinx" or settings.whisper_model != "auto":
        return settings
    gpu = _gpu(settings, environ, senses)
    model = plans_seen(settings, gpu, senses.gpu_state, child_environment(settings, environ)).model()
    return settings.model_copy(update={"whisper_model": model})


def plan_check(settings: Settings, environ: Mapping[str, str] | None, senses: PcSenses) -> Check:
    """What an hour's meeting would be worked on with now, and why."""
    if settings.asr_engine == "sphinx":
        return Check("plan", State.OK, "The offline engine needs no plan.")
    gpu = _gpu(settings, environ, senses)
    plans = plans_seen(settings, gpu, senses.gpu_state, child_environment(settings, environ))
    first, *below = plans.preview(USUAL_S)
    return Check("plan", State.OK, " ".join([f"{_told(first)}.", *first.reasons, _next(below)]))


def cuda_check(settings: Settings, environ: Mapping[str, str] | None, senses: PcSenses) -> Check:
    """Whether the GPU's generation and the installed libraries fit each other."""
    gpu = _gpu(settings, environ, senses)
    if gpu is None:
        return Check("cuda", State.OK, "No GPU is used.")
    state = senses.gpu_state(gpu.uuid)
    if state is None:
        sentence = f"{gpu.name} does not tell its memory and generation, so the CPU computes. Update its driver."
        return Check("cuda", State.WARNING, sentence)
    capability = "{}.{}".format(*state.compute_capability)
    if state.compute_capability < OLDEST_CAPABILITY:
        sentence = (
            f"{gpu.name} has compute capability {capability}; the libraries need {'{}.{}'.format(*OLDEST_CAPABILITY)} "
            "(Volta) or newer, so the CPU computes. Use a newer GPU, or set ENABLE_GPU=false."
        )
        return Check("cuda", State.WARNING, sentence)
    wrong = senses.wrong_libraries()
    if wrong:
        sentence = f"The GPU cannot be used: {', '.join(wrong)}. Install requirements.txt anew, with constraints.txt."
        return Check("cuda", State.FAILED, sentence)
    if foreign_cudnn(child_environment(settings, environ).get("LD_LIBRARY_PATH", "")):
        sentence = "LD_LIBRARY_PATH names a folder with another cuDNN, which may not fit. Remove it for the worker."
        return Check("cuda", State.WARNING, sentence)
    what = "a MIG instance" if gpu.uuid.startswith("MIG-") else "the GPU"
    return Check("cuda", State.OK, f"The libraries fit {what} (compute capability {capability}).")


def _gpu(settings: Settings, environ: Mapping[str, str] | None, senses: PcSenses) -> GpuFacts | None:
    if settings.asr_engine == "sphinx" or not settings.enable_gpu:
        return None
    return senses.gpu(settings.cuda_device, child_environment(settings, environ).get("CUDA_VISIBLE_DEVICES"))


def _told(plan: EnginePlan) -> str:
    where = "on the CPU" if plan.device == "cpu" else "on the GPU"
    return f"An hour is transcribed by {in_words(plan)}, {where}"


def _next(below: list[EnginePlan]) -> str:
    """The models, or the CPU, that come when memory runs out."""
    if not below:
        return "When memory runs out, the meeting fails."
    last = below[-1]
    return f"When memory runs out, it goes down to {in_words(last)}{' on the CPU' if last.device == 'cpu' else ''}."
