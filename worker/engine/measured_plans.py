"""Plans made from what a PC has at the moment, begun below what its memory lately did not suffice for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from worker.engine.planner import AUTO, Machine, Wishes, model_for, rungs_for, vram_bytes
from worker.engine.rung_memory import RungMemory, rung_of
from worker.models import EnginePlan, GpuState

_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A GPU, and whether its free memory already counts what this process holds as free."""

    state: GpuState
    has_own: bool


class MeasuredPlans:
    """
    Implements `plan.Plans`. Asked before each meeting, in the process that computes.

    Args:
        read_gpu: the GPU now; None without one, or when nothing answers.
        num_threads, ram_bytes: the engine's share of the CPU and of memory.
        memory: shared with the PC's other engines.
        at_hand: the Whisper models on this PC now.
        is_hub_reachable: asked at most once, and only when `auto` would fetch a model while another one is here.
    """

    def __init__(
        self,
        *,
        read_gpu: Callable[[], GpuReading | None],
        num_threads: int,
        ram_bytes: int,
        wishes: Wishes,
        memory: RungMemory,
        at_hand: Callable[[], frozenset[str]],
        is_hub_reachable: Callable[[], bool],
    ) -> None:
        self._read_gpu = read_gpu
        self._machine = Machine(gpu=None, num_threads=num_threads, ram_bytes=ram_bytes)
        self._wishes = wishes
        self._memory = memory
        self._at_hand = at_hand
        self._is_hub_reachable = cache(is_hub_reachable)
        self._gpu: GpuState | None = None
        self._held_bytes = 0

    def preview(self, audio_s: float) -> Sequence[EnginePlan]:
        """What `rungs` would answer, without beginning anything."""
        self._look()
        rungs = self._all_rungs(audio_s)
        failed = self._memory.failed_rung(self._device(), audio_s, driver=self._driver(), free_bytes=self._free_bytes())
        below = _below(rungs, failed)
        if _worth(below[0]) != _worth(rungs[0]):
            return [_makeshift(plan, "Memory lately did not suffice for more.") for plan in below]
        if below[0].model != model_for(self._machine, self._wishes_now()):
            return [_makeshift(plan, "Memory does not suffice for more now.") for plan in below]
        return below

    def model(self) -> str:
        """What WHISPER_MODEL comes to on this PC."""
        self._look()
        return model_for(self._machine, self._wishes_now())

    def rungs(self, audio_s: float) -> Sequence[EnginePlan]:
        rungs = self.preview(audio_s)
        self._begin(rungs[0], audio_s)
        return rungs

    def worked(self, plan: EnginePlan, audio_s: float) -> None:  # noqa: ARG002  # Plans' signature
        self._held_bytes = vram_bytes(plan)
        self._memory.worked()

    def failed(self, plan: EnginePlan, audio_s: float) -> None:
        self._held_bytes = 0
        self._begin(plan, audio_s)
        self._memory.failed()
        below = _below(self._all_rungs(audio_s), rung_of(plan))
        if below and rung_of(below[0]) != rung_of(plan):
            self._begin(below[0], audio_s)

    # --- what there is -------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """At the GPU as it is now; it stays as it was when nothing answers any more."""
        reading = self._read_gpu()
        if reading is not None:
            own_bytes = 0 if reading.has_own else self._held_bytes
            free_bytes = min(reading.state.total_bytes, reading.state.free_bytes + own_bytes)
            self._gpu = reading.state.model_copy(update={"free_bytes": free_bytes})
        self._machine = replace(self._machine, gpu=self._gpu)

    def _all_rungs(self, audio_s: float) -> Sequence[EnginePlan]:
        return rungs_for(self._machine, audio_s, self._wishes_now())

    def _wishes_now(self) -> Wishes:
        """With what is on this PC; when `auto` would fetch another model and cannot, that is all there is."""
        at_hand = self._at_hand()
        wishes = replace(self._wishes, at_hand=at_hand)
        is_missing = wishes.model == AUTO and at_hand and model_for(self._machine, wishes) not in at_hand
        if is_missing and wishes.can_fetch and not self._is_hub_reachable():
            return replace(wishes, can_fetch=False)
        return wishes

    def _begin(self, plan: EnginePlan, audio_s: float) -> None:
        self._memory.trying(plan, self._device(), audio_s, driver=self._driver(), free_bytes=self._free_bytes())

    def _device(self) -> str:
        return self._gpu.uuid if self._gpu else _CPU

    def _driver(self) -> str:
        return self._gpu.driver if self._gpu else _CPU

    def _free_bytes(self) -> int:
        return self._gpu.free_bytes if self._gpu else self._machine.ram_bytes


def _worth(plan: EnginePlan) -> tuple[str, str, str]:
    """What its text depends on: with fewer passages at once it is only slower."""
    return plan.model, plan.device, plan.compute_type


def _makeshift(plan: EnginePlan, reason: str) -> EnginePlan:
    return plan.model_copy(update={"is_makeshift": True, "reasons": (*plan.reasons, reason)})


def _below(rungs: Sequence[EnginePlan], failed: str | None) -> Sequence[EnginePlan]:
    """The rungs under the one that failed; all of them if it is none of these, the last one if it is the last."""
    number = next((n for n, rung in enumerate(rungs) if rung_of(rung) == failed), -1)
    return rungs[number + 1 :] or rungs[-1:]
