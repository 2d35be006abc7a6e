"""What the settings' WHISPER_MODEL comes to on this PC, for whoever speaks of it before an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.app_children import child_environment, gpu_of, num_engines
from worker.app_plans import measured_plans, plan_arguments
from worker.config import Settings
from worker.engine.measured_plans import GpuReading, MeasuredPlans
from worker.engine.planner import AUTO
from worker.models import GpuFacts, GpuState


def chosen_model(settings: Settings) -> str:
    """
    The name that `auto` stands for; any other as it is. What is free at the moment makes no difference. Asks no hub:
    one that is not forbidden is taken for reachable.
    """
    if settings.whisper_model != AUTO:
        return settings.whisper_model
    return plans_seen(settings, gpu_of(settings), _state_now, may_ask_hub=False).model()


def plans_seen(
    settings: Settings,
    gpu: GpuFacts | None,
    state_of: Callable[[str], GpuState | None],
    environ: Mapping[str, str] | None = None,
    *,
    may_ask_hub: bool = True,
) -> MeasuredPlans:
    """The plans that an engine would make, seen from outside; `state_of` looks at a GPU."""

    def reading(uuid: str) -> GpuReading | None:
        state = state_of(uuid)
        return None if state is None else GpuReading(state, has_own=True)

    environ = child_environment(settings) if environ is None else environ
    arguments = plan_arguments(settings, gpu, num_engines=num_engines(settings), environ=environ)
    return measured_plans(**arguments, read_gpu=reading, may_ask_hub=may_ask_hub)


def _state_now(uuid: str) -> GpuState | None:
    from worker.adapters.gpu_nvml import read_gpu_state

    found = read_gpu_state(uuid)
    return None if found is None else found[0]
