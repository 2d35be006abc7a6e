"""WhisperX without a hub: a model that cannot be had is said in plain words, at once, and nothing else is tried."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker import app_children
from worker.adapters.child_channel import ObjectSpec
from worker.adapters.child_process import ChildProcess
from worker.exceptions import ModelUnavailableError
from worker.models import Transcript

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


@pytest.mark.parametrize("model", ["no-such-model", "/no/such/folder"])
async def test_a_model_that_cannot_be_had_names_the_remedy(tmp_path: Path, model: str) -> None:
    kwargs = {"model": model, "cache_dir": str(tmp_path), "enable_gpu": True, "cuda_device": 0, "num_threads": 1}
    spec = ObjectSpec(factory=app_children.ENGINES["whisperx"], kwargs=kwargs)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    async with ChildProcess(name="engine", objects={"asr": spec}, environment=environment, stall_s=100) as child:
        hints = {"language": None, "prompt": None, "hotwords": None}
        with pytest.raises(ModelUnavailableError, match="set WHISPER_MODEL to a folder") as caught:
            await child.call("asr.transcribe", {"audio": tmp_path / "a.wav", **hints}, Transcript, lambda _: None)
    assert "/no/such" not in str(caught.value)
