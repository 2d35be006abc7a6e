"""Settings as a test wants them: only what it says, no .env, every folder below one."""

from __future__ import annotations

from pathlib import Path

from worker.config import Need, Settings, load_settings


def settings_in(folder: Path, **variables: str) -> Settings:
    environ = {
        "WORKER_ID": "test-1",
        "DATABASE_URL": f"embedded:{folder / 'postgres'}",
        "STORAGE_DIR": str(folder / "recordings"),
        "AUDIO_TEMP_DIR": str(folder / "temp_audio"),
        "MODEL_CACHE_DIR": str(folder / "models"),
        "LOG_DIR": str(folder / "logs"),
        "ASR_ENGINE": "sphinx",
        **variables,
    }
    return load_settings([Need.DATABASE, Need.WORKER], environ=environ, env_file=None)
