"""What a check of the doctor answers, and all the names that there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(NamedTuple):
    """`name` is one of CHECKS and never renamed; `sentence` says what was seen and, where it is not ok, what to do."""

    name: str
    state: State
    sentence: str


CHECKS: dict[str, tuple[str, str]] = {
    "settings": (
        "every setting that a worker needs, and none that clash",
        "correct the setting that it names in `.env`",
    ),
    "clock": (
        "this PC's clock against the database's; 30 s off is a warning, 5 minutes a failure",
        "`timedatectl set-ntp true`",
    ),
    "key": ("what each key is, its role and its end", "`python -m worker token`, before it ends"),
    "database": ("whether the database answers, and how fast", "check network and `SUPABASE_URL` or `DATABASE_URL`"),
    "access": ("whether it lets this PC in", "copy `SUPABASE_KEY` and `SUPABASE_WORKER_TOKEN` anew"),
    "schema": ("the migrations of the database against those of this worker", "`python -m worker migrate`, or update"),
    "functions": ("whether each function that a worker calls may be called", "the `grant` that it prints"),
    "worker_id": ("whether `WORKER_ID` is alive on another PC", "give one of the two another `WORKER_ID`"),
    "storage": (
        "whether the bucket, or the folder of recordings, is there",
        "`python -m worker migrate`, `STORAGE_DIR`",
    ),
    "temp_space": (
        "`MIN_FREE_DISK_BYTES`, and room for the largest recording",
        "free the disk of `AUDIO_TEMP_DIR`, or lower `MAX_AUDIO_BYTES`",
    ),
    "model_space": ("room for a model that is yet to be fetched", "free the disk of `MODEL_CACHE_DIR`"),
    "memory": ("free memory for the engines", "lower `ENGINE_PROCESSES`, or a smaller `WHISPER_MODEL`"),
    "gpu": ("the GPU of `CUDA_DEVICE` and its driver", "its driver, `CUDA_DEVICE`, or `ENABLE_GPU=false`"),
    "cuda": (
        "whether the GPU's generation and the installed libraries (CUDA, cuDNN) fit each other",
        "`pip install -r requirements.txt -c constraints.txt`, a newer GPU, or `ENABLE_GPU=false`",
    ),
    "plan": (
        "what an hour's meeting is computed with, and why; never more than information",
        "`WHISPER_MODEL`, `WHISPER_COMPUTE_TYPE`, `WHISPER_BATCH_SIZE`, if you want another",
    ),
    "model": ("whether the Whisper model is here or can be fetched", "`WHISPER_MODEL`; let the PC reach the model hub"),
    "diarizer": (
        "who tells speakers apart, and for pyannote whether its pipeline is here or can be fetched",
        "`models pull pyannote` where `HF_TOKEN` is set, `models pull --from-lab`, or `DIARIZER=bundled`",
    ),
    "hf_token": ("whether `HF_TOKEN` looks like one; only pyannote asks for it", "copy `HF_TOKEN` anew, or remove it"),
    "summary": (
        "where `SUMMARY_LLM_URL` is set: whether the endpoint answers and has the model",
        "`SUMMARY_LLM_URL`, `SUMMARY_LLM_MODEL`, `SUMMARY_LLM_KEY`; or start the endpoint",
    ),
    "telemetry": ("that the libraries report to nobody", "update the worker"),
    "unit": ("under systemd: whether the service starts with the PC", "`systemctl enable --now pc-worker@NAME`"),
}
"""By name: what is looked at, and what mends it. In the order in which the remedies help; the README shows it."""


def in_order(found: list[Check]) -> list[Check]:
    """As CHECKS has them; lines of one name stay as they came."""
    names = list(CHECKS)
    return sorted(found, key=lambda check: names.index(check.name))


Lines = Check | list[Check] | None
"""What a check function answers; None where there is nothing to look at."""


async def guarded(name: str, look: Callable[[], Awaitable[Lines]]) -> list[Check]:
    """The lines of one check, whatever happens in it."""
    try:
        found = await look()
    except Exception as error:  # noqa: BLE001 - a doctor that falls ill tells of it, and of everything else it saw
        sentence = f"This could not be looked at ({type(error).__name__}). Please report it; the other lines hold."
        return [Check(name, State.WARNING, sentence)]
    return [] if found is None else [found] if isinstance(found, Check) else found


async def guarded_sync(name: str, look: Callable[[], Lines]) -> list[Check]:
    """The same for a check that reads files or asks another program."""
    return await guarded(name, lambda: asyncio.to_thread(look))


def gigabytes(size_bytes: float) -> str:
    """For people: 4.3 GB."""
    return f"{size_bytes / 1e9:,.1f} GB"
