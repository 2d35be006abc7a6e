"""
Which Whisper model, number format and batch size: all rungs from the best that a PC may try down to the least. Pure.

The plan is the first rung whose estimate fits into the memory that is free; the rungs below it are for when the
estimate was wrong. The model that `auto` takes depends on the whole memory, never on what is free at the moment, so
that it is the same for doctor and for every meeting, and nothing is downloaded because of a passing squeeze.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from worker.engine.catalogue import ENGLISH, WHISPER_MODELS, WhisperModel
from worker.models import EnginePlan, GpuState

AUTO = "auto"

OLDEST_CAPABILITY = (7, 0)
"""Volta. The oldest chip that torch 2.8 for CUDA 12.8 is compiled for (torch._C._cuda_getArchFlags: sm_70 ...)."""

_NEEDED_CAPABILITY = {"float32": (0, 0), "int8": (6, 1), "int8_float16": (7, 0), "float16": (7, 0), "bfloat16": (8, 0)}
"""Source: CTranslate2 4, "Quantization", implicit type conversion on load."""

_ON_CPU = ("int8", "float32")

_SAFE = ((11.5e9, "large-v3", 16), (7.5e9, "turbo", 8), (5.5e9, "turbo", 4), (3.5e9, "small", 2))
"""
From how much VRAM a model and so many passages at once are safe beside aligner and diarizer. Published for whisperx as
4 GB small 2, 6 GB turbo 4, 8 GB turbo 8, 12 GB turbo or large-v3 16; cards report a little less than is on the box.
For English turbo is taken at 12 GB too: it equals large-v3 on long recordings at twice the speed.
"""

_BEST_FIRST = ("large-v3", "large-v2", "turbo", "medium", "small", "base", "tiny")
_ENGLISH_TOO = ("distil-large-v3.5", "distil-large-v3", "medium.en", "small.en", "base.en", "tiny.en")
_SMALLER = ("turbo", "small", "base")
"""What is gone down to. Tiny is left out: it writes so many wrong words that a failure helps more."""

_RESERVE_BYTES = 1_900_000_000
"""Left for what stands beside Whisper: torch's context (0.5 GB) and a large wav2vec2 model in float32 (1.3 GB)."""

_CPU_BATCH_SIZE = 4
"""Passages between two reports: eight of a large model on a slow CPU take so long that they look stalled."""

_CPU_PASSAGE = 4.0
"""Times the VRAM of a passage. faster-whisper's README: small in int8, 1477 MB of RAM, and 3608 with eight passages."""

_RAM_BESIDE_BYTES = 1_500_000_000
"""Of an engine's share of RAM, for aligner and diarizer."""

_PASSAGE_S = 30.0
_LEAST_BATCH = 2


@dataclass(frozen=True, slots=True)
class Wishes:
    """
    What the settings pin, and what they allow.

    Attributes:
        model, compute_type: AUTO, or what is to be taken. `batch_size` is where to begin; memory that runs out halves
            it all the same.
        languages: that may be heard; all if empty.
        at_hand: names of the Whisper models on this PC; None: all. Only these are gone down to.
        can_fetch: `auto` may take a model that is not there.
        diarizer: "bundled" takes little; "pyannote" much, the more the longer the recording.
    """

    model: str = AUTO
    compute_type: str = AUTO
    batch_size: int | None = None
    unload_asr: bool | None = None
    allow_smaller_model: bool = True
    allow_cpu_fallback: bool = False
    languages: tuple[str, ...] = ()
    at_hand: frozenset[str] | None = None
    can_fetch: bool = True
    diarizer: str = "pyannote"

    @property
    def is_english(self) -> bool:
        return self.languages == (ENGLISH,)

    def has(self, name: str) -> bool:
        return self.at_hand is None or name in self.at_hand


@dataclass(frozen=True, slots=True)
class Machine:
    """The GPU if there is one, and the share of the CPU's threads and memory that an engine has."""

    gpu: GpuState | None
    num_threads: int
    ram_bytes: int


def plan_for(machine: Machine, audio_s: float, wishes: Wishes) -> EnginePlan:
    """What to begin with."""
    return rungs_for(machine, audio_s, wishes)[0]


def rungs_for(machine: Machine, audio_s: float, wishes: Wishes) -> tuple[EnginePlan, ...]:
    """
    The plan, then what is below it: half the batch ... 2, int8, smaller models, the CPU, as far as they are allowed.

    At least one; when nothing fits, the least there is.
    """
    gpu, why_not = _usable(machine.gpu)
    if gpu is None:
        return _explained(_on_cpu(machine, audio_s, wishes, why_not))
    rungs = _from_first_that_fits(_gpu_ladder(gpu, audio_s, wishes), gpu)
    if wishes.allow_cpu_fallback:
        rungs += _on_cpu(machine, audio_s, wishes, "ALLOW_CPU_FALLBACK lets the CPU compute.")
    return _explained(rungs)


def model_for(machine: Machine, wishes: Wishes) -> str:
    """The model at the top of the rungs, whatever is free now: what a PC has to have."""
    if wishes.model != AUTO:
        return wishes.model
    gpu, _ = _usable(machine.gpu)
    return _cpu_model(machine, wishes)[0] if gpu is None else _chosen(gpu, wishes)[0]


def facts_of(model: str) -> WhisperModel:
    """The catalogue's entry; for a folder or another's repository the one that its name speaks of, else the largest."""
    known = WHISPER_MODELS.get(model)
    if known is None:
        named = (name for name in sorted(WHISPER_MODELS, key=len, reverse=True) if name in model.rpartition("/")[2])
        known = WHISPER_MODELS[next(named, "large-v3")]
    return known


def diarization_bytes(audio_s: float, diarizer: str) -> int:
    """
    VRAM of telling speakers apart, at its peak.

    pyannote.audio 4.0 was seen to take 9.5 GB on 72 minutes (its issue tracker), growing with the length: 1.6 GB and
    110 MB a minute. The bundled one holds two small networks.
    """
    return 1_000_000_000 if diarizer == "bundled" else int(1.6e9 + 110e6 * audio_s / 60)


def diarization_batch_size(free_bytes: int) -> int:
    """How many windows the diarizer hears at once. An estimate of ours: about 100 MB each, half of what is free."""
    return next((size for size in (32, 16, 8) if size * 200e6 <= free_bytes), 4)


# --- on a GPU ----------------------------------------------------------------------------------------------------


def _usable(gpu: GpuState | None) -> tuple[GpuState | None, str]:
    """The GPU, or why it is left alone."""
    if gpu is None:
        return None, "No GPU is used, so the CPU computes."
    if gpu.compute_capability < OLDEST_CAPABILITY:
        return None, (
            f"{gpu.name} has compute capability {_dotted(gpu.compute_capability)}, and the libraries need "
            f"{_dotted(OLDEST_CAPABILITY)} (Volta) or newer, so the CPU computes."
        )
    if gpu.total_bytes < _SAFE[-1][0]:
        return None, f"{gpu.name} has only {_gb(gpu.total_bytes)} of memory, which is too little, so the CPU computes."
    return gpu, ""


def _gpu_ladder(gpu: GpuState, audio_s: float, wishes: Wishes) -> tuple[EnginePlan, ...]:
    """From the best that the whole memory is good for, to the least."""
    model, batch_size, reasons = _chosen(gpu, wishes)
    batch_size = min(wishes.batch_size or batch_size, _useful(audio_s))
    formats, unsupported = _formats(gpu, wishes.compute_type)
    steps = [(model, formats[0], size) for size in _halves(batch_size)]
    steps += [(model, format_, _LEAST_BATCH) for format_ in formats[1:]]
    for smaller in _smaller(model, wishes):
        steps += [(smaller, formats[0], min(2 * _LEAST_BATCH, batch_size)), (smaller, formats[-1], _LEAST_BATCH)]
    return tuple(_gpu_plan(gpu, audio_s, wishes, step, (*reasons, *unsupported)) for step in dict.fromkeys(steps))


def _chosen(gpu: GpuState, wishes: Wishes) -> tuple[str, int, tuple[str, ...]]:
    """Model and batch size for the whole memory, and why."""
    safe_model, batch_size = next((name, size) for least, name, size in _SAFE if gpu.total_bytes >= least)
    about = f"The GPU is {gpu.name} with {_gb(gpu.total_bytes)}, {_gb(gpu.free_bytes)} of it free."
    if wishes.model != AUTO:
        return wishes.model, batch_size, (about, "WHISPER_MODEL names the model.")
    name = "turbo" if wishes.is_english and safe_model == "large-v3" else safe_model
    if not (wishes.can_fetch or wishes.has(name)):
        here = _best_at_hand(name, wishes)
        if here is not None:
            return here, batch_size, (about, f"Of the models on this PC {here} is the best that fits.")
    why = "the usual one for so much memory"
    if name != safe_model:
        why = "as good as large-v3 on long English recordings, at twice its speed"
    return name, batch_size, (about, f"{name} is {why}.")


def _best_at_hand(limit: str, wishes: Wishes) -> str | None:
    """Of what is on this PC, the largest up to `limit`; if all are larger, the smallest of them."""
    names = (*_BEST_FIRST, *(_ENGLISH_TOO if wishes.is_english else ()))
    sizes = {name: WHISPER_MODELS[name].num_parameters for name in names if wishes.has(name)}
    fitting = [name for name, size in sizes.items() if size <= WHISPER_MODELS[limit].num_parameters]
    if fitting:
        largest: str = max(fitting, key=lambda name: sizes[name])
        return largest
    return min(sizes, key=lambda name: sizes[name]) if sizes else None


def _formats(gpu: GpuState, wish: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The number formats to try, and a sentence when the wished one is none of this GPU's."""
    usual = ("float16", "int8_float16")
    if wish == AUTO:
        return usual, ()
    if gpu.compute_capability >= _NEEDED_CAPABILITY[wish]:
        return (wish,), ("WHISPER_COMPUTE_TYPE names the number format.",)
    needed = _dotted(_NEEDED_CAPABILITY[wish])
    return usual, (f"{wish} needs compute capability {needed}, which {gpu.name} has not, so float16 is used.",)


def _smaller(model: str, wishes: Wishes) -> list[str]:
    """A folder or another's repository was chosen for what it knows; nothing of the catalogue stands in for it."""
    if not wishes.allow_smaller_model or model not in WHISPER_MODELS:
        return []
    known = WHISPER_MODELS[model]
    names = [f"{name}.en" for name in _SMALLER[1:]] if known.languages == ENGLISH else [*_SMALLER]
    return [n for n in names if WHISPER_MODELS[n].num_parameters < known.num_parameters and wishes.has(n)]


def _gpu_plan(
    gpu: GpuState, audio_s: float, wishes: Wishes, step: tuple[str, str, int], reasons: tuple[str, ...]
) -> EnginePlan:
    model, compute_type, batch_size = step
    left_bytes = gpu.free_bytes - facts_of(model).vram_bytes(compute_type, batch_size)
    unload_asr, why = _unloading(left_bytes, audio_s, wishes)
    free_bytes = gpu.free_bytes if unload_asr else left_bytes
    return EnginePlan(
        model=model,
        device="cuda",
        compute_type=compute_type,
        batch_size=batch_size,
        diarization_batch_size=diarization_batch_size(free_bytes),
        unload_asr=unload_asr,
        reasons=(*reasons, *why),
    )


def _unloading(left_bytes: int, audio_s: float, wishes: Wishes) -> tuple[bool, tuple[str, ...]]:
    if wishes.unload_asr is not None:
        return wishes.unload_asr, ()
    if left_bytes >= diarization_bytes(audio_s, wishes.diarizer):
        return False, ()
    return True, ("Whisper is unloaded before diarization, which would not fit beside it.",)


def _from_first_that_fits(ladder: tuple[EnginePlan, ...], gpu: GpuState) -> tuple[EnginePlan, ...]:
    """All of it as a rule; the last rung at least, since an estimate may be wrong."""
    fitting = (n for n, rung in enumerate(ladder) if vram_bytes(rung) + _RESERVE_BYTES <= gpu.free_bytes)
    first = next(fitting, None)
    if first == 0:
        return ladder
    why = f"With {_gb(gpu.free_bytes)} free, {in_words(ladder[0])} would not fit."
    if first is None:
        why = f"Only {_gb(gpu.free_bytes)} of its memory are free; even this may not fit."
    return tuple(_because(rung, why) for rung in ladder[-1 if first is None else first :])


def _explained(rungs: tuple[EnginePlan, ...]) -> tuple[EnginePlan, ...]:
    """Each below the first says why it is one."""
    why = f"Memory ran out with {in_words(rungs[0])}."
    return (rungs[0], *(_because(rung, why) for rung in rungs[1:]))


def _because(plan: EnginePlan, reason: str) -> EnginePlan:
    return plan.model_copy(update={"reasons": (*plan.reasons, reason)})


def vram_bytes(plan: EnginePlan) -> int:
    """What transcribing by this plan takes of a GPU; 0 on the CPU."""
    if plan.device == "cpu":
        return 0
    return facts_of(plan.model).vram_bytes(plan.compute_type, plan.batch_size)


# --- on the CPU --------------------------------------------------------------------------------------------------


def _on_cpu(machine: Machine, audio_s: float, wishes: Wishes, reason: str) -> tuple[EnginePlan, ...]:
    model, why = (wishes.model, ()) if wishes.model != AUTO else _cpu_model(machine, wishes)
    compute_type = wishes.compute_type if wishes.compute_type in _ON_CPU else "int8"
    batch_size = min(wishes.batch_size or _CPU_BATCH_SIZE, _useful(audio_s))
    steps = [(model, size) for size in _halves(batch_size)]
    steps += [(smaller, _LEAST_BATCH) for smaller in _smaller(model, wishes)]
    return tuple(
        EnginePlan(
            model=name,
            device="cpu",
            compute_type=compute_type,
            batch_size=size,
            diarization_batch_size=8,
            unload_asr=_is_unloaded_in_ram(machine, wishes, name, compute_type, size),
            reasons=(reason, *why),
        )
        for name, size in steps
    )


def _cpu_model(machine: Machine, wishes: Wishes) -> tuple[str, tuple[str, ...]]:
    """
    Small, as far as threads and memory go.

    It works at 15 times real time on eight threads of an i7-12700K (faster-whisper's README: 51 s for 13 minutes), so
    about twice per thread, and about once on an old one: two threads keep up with a meeting, one does not. Larger
    models are four times slower. Tiny is for PCs whose memory holds no other.
    """
    usual = ("small", "base", "tiny") if machine.num_threads >= 2 else ("base", "tiny")
    fitting = [name for name in usual if _cpu_bytes(name, "int8", _CPU_BATCH_SIZE) <= machine.ram_bytes]
    name = next(iter(fitting), "tiny")
    threads = f"{machine.num_threads} thread{'s' if machine.num_threads > 1 else ''}"
    here = None if wishes.can_fetch or wishes.has(name) else _best_at_hand(name, wishes)
    if here is not None:
        return here, (f"Of the models on this PC {here} is the best for {threads}.",)
    return name, (f"{name} is what {threads} and {_gb(machine.ram_bytes)} of memory are good for.",)


def _cpu_bytes(model: str, compute_type: str, batch_size: int) -> int:
    """RAM of an engine that transcribes, its aligner and diarizer included."""
    known = facts_of(model)
    passages = int(batch_size * _CPU_PASSAGE * known.passage_vram_bytes)
    return _RAM_BESIDE_BYTES + 950_000_000 + known.weights_bytes(compute_type) + passages


def _is_unloaded_in_ram(machine: Machine, wishes: Wishes, model: str, compute_type: str, batch_size: int) -> bool:
    if wishes.unload_asr is not None:
        return wishes.unload_asr
    return _cpu_bytes(model, compute_type, batch_size) > machine.ram_bytes


# --- both --------------------------------------------------------------------------------------------------------


def _useful(audio_s: float) -> int:
    """More passages at once than a recording has would only be reserved."""
    num_passages, size = ceil(audio_s / _PASSAGE_S), _LEAST_BATCH
    while size < num_passages:
        size *= 2
    return size


def _halves(batch_size: int) -> list[int]:
    """The batch size, half of it ..., down to 2: whisperx takes another path for 1."""
    sizes = [batch_size]
    while sizes[-1] > _LEAST_BATCH:
        sizes.append(max(_LEAST_BATCH, sizes[-1] // 2))
    return sizes


def in_words(plan: EnginePlan) -> str:
    """
    >>> in_words(EnginePlan(model="small", device="cpu", compute_type="int8", batch_size=4))
    'small in int8 with 4 passages at once'
    """
    return f"{plan.model.rpartition('/')[2]} in {plan.compute_type} with {plan.batch_size} passages at once"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
