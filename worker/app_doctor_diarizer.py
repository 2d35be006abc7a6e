"""The doctor's room for who tells the speakers apart. Loads nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial

from worker.app_children import child_environment
from worker.app_doctor_check import Check, State
from worker.app_plans import HUB, is_offline
from worker.config import Settings
from worker.engine.diarizer_choice import choose_diarizer

HUB_TIMEOUT_S = 3.0


def diarizer_check(settings: Settings, environ: Mapping[str, str] | None) -> Check:
    """What DIARIZER comes to here. Whether the token's account accepted pyannote's terms is known at the first pull."""
    environment = child_environment(settings, environ)
    choose = partial(
        choose_diarizer,
        model=settings.pyannote_model,
        cache=settings.model_cache_dir / "pyannote",
        has_token=settings.hf_token is not None,
        offline=is_offline(settings, environment),
        hub_answers=lambda: _answers(environment.get("HF_ENDPOINT", HUB)),
    )
    if settings.diarizer == "bundled":
        return Check("diarizer", State.OK, choose(asked="bundled").reason)
    choice = choose(asked="auto")
    if settings.diarizer == "auto" or choice.diarizer == "pyannote":
        return Check("diarizer", State.OK, choice.reason)
    sentence = (
        f"DIARIZER=pyannote cannot work: {choice.obstacle} Fetch it with `python -m worker models pull pyannote` where "
        "HF_TOKEN is set, or with `models pull --from-lab`; DIARIZER=bundled works without it."
    )
    return Check("diarizer", State.FAILED, sentence)


def _answers(hub: str) -> bool:
    from worker.adapters.server_clock import answers

    return asyncio.run(answers(hub, timeout_s=HUB_TIMEOUT_S))
