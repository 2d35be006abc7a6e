"""What DIARIZER and PYANNOTE_MODEL become in the engine child; nothing here loads a model."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.settings import settings_in
from worker.app_children import child_objects


def test_the_settings_reach_the_child_and_the_token_does_not_stand_among_them(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path, DIARIZER="pyannote", PYANNOTE_MODEL="lab/ours", MODELS_OFFLINE="true", HF_TOKEN="hf_secret"
    )
    spec = child_objects(settings).diarizer
    assert (spec.kwargs["kind"], spec.kwargs["pyannote_model"], spec.kwargs["offline"]) == (
        "pyannote",
        "lab/ours",
        True,
    )
    assert spec.kwargs["cache_dir"] == str(tmp_path / "models")
    assert "hf_secret" not in json.dumps(dict(spec.kwargs))
