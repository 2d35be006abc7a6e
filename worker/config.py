"""
Settings from the environment and .env (the environment wins). Every wrong or missing value is reported at once, each
with its remedy.

Field names are the variables' names in lower case; the comment of each field is the sentence of the README's table.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from worker.exceptions import ConfigurationError


class Need(StrEnum):
    """What a command cannot do without."""

    DATABASE = "database"
    WORKER = "worker"


def _https_or_loopback(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return url.rstrip("/")
    raise ValueError("must begin with https:// (http:// is accepted for this machine only)")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _database(url: SecretStr) -> SecretStr:
    value = url.get_secret_value()
    if value == "embedded" or value.startswith(("embedded:", "postgresql://", "postgres://")):
        return url
    raise ValueError("must be `embedded`, `embedded:FOLDER` or begin with postgresql://")


def _worker_id(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        return value
    raise ValueError("may hold letters, digits, dot, dash and underscore, at most 63, such as lab-pc-1")


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


HttpsUrl = Annotated[str, AfterValidator(_https_or_loopback)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
WorkerId = Annotated[str, AfterValidator(_worker_id)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


class Settings(BaseModel):
    """What an administrator may set. Secrets never appear in its repr."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    # where meetings come from
    supabase_url: HttpsUrl | None = Field(None, description="Address of the Supabase project")
    supabase_key: SecretStr | None = Field(None, description="Key of the Supabase project")
    database_url: DatabaseUrl | None = Field(
        None, description="Instead of Supabase: `embedded`, `embedded:FOLDER` or a postgresql:// address"
    )
    storage_dir: Path = Field(Path("recordings"), description="With DATABASE_URL: the folder that holds the recordings")

    # who this worker is
    worker_id: WorkerId | None = Field(None, description="Unique name of this worker in the fleet, such as lab-pc-1")
    worker_name: str | None = Field(None, max_length=200, description="Name for people; WORKER_ID if not set")

    # what it runs on
    enable_gpu: bool = Field(True, description="Use the GPU if there is one (engine whisperx)")
    cuda_device: int = Field(0, ge=0, description="Number of the GPU")
    asr_engine: Literal["whisperx", "sphinx"] = Field(
        "whisperx", description="`whisperx`, or `sphinx`: offline, English, rough"
    )
    whisper_model: str = Field("small", min_length=1, description="Whisper model: a name or a folder (engine whisperx)")
    model_cache_dir: Path = Field(Path("models"), description="Where downloaded models are kept")
    hf_token: SecretStr | None = Field(None, description="Token of the Hugging Face hub, for models that ask for one")
    engine_processes: int | None = Field(
        None, ge=1, le=64, description="Engine processes; a quarter of the cores if not set, one with a GPU"
    )

    # how it works
    max_concurrent_jobs: int = Field(2, ge=1, le=64, description="Meetings in progress at once, in different stages")
    polling_interval_seconds: float = Field(
        5.0, gt=0, le=3600, description="Pause between looks at an empty queue; grows to six times this"
    )
    shutdown_grace_seconds: float = Field(
        60.0, ge=0, le=86400, description="How long a stopping worker may go on with a meeting before it gives it back"
    )
    max_audio_bytes: int = Field(4 * 1024**3, gt=0, description="Largest recording, in bytes")
    max_audio_hours: float = Field(12.0, gt=0, le=48, description="Longest recording, in hours")
    audio_temp_dir: Path = Field(Path("temp_audio"), description="Working files of meetings in progress")
    keep_temp_days: float = Field(7.0, gt=0, description="Working files of abandoned meetings are removed after this")

    # what it says
    log_level: LogLevel = Field("INFO", description="What the console shows: DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["text", "json"] = Field("text", description="`text`, or `json` for machines")
    log_dir: Path = Field(Path("logs"), description="Where the log files are")

    @property
    def display_name(self) -> str:
        return self.worker_name or self.worker_id or ""

    def secrets(self) -> tuple[str, ...]:
        """What must never be seen in a log."""
        kept = (self.supabase_key, self.hf_token, self.database_password())
        return tuple(s.get_secret_value() for s in kept if s is not None and s.get_secret_value())

    def database_password(self) -> SecretStr | None:
        if self.database_url is None:
            return None
        password = urlsplit(self.database_url.get_secret_value()).password
        return SecretStr(password) if password else None


VARIABLES: dict[str, str] = {name.upper(): name for name in Settings.model_fields}

_NEEDED_DATABASE = (
    "SUPABASE_URL and SUPABASE_KEY, or DATABASE_URL: not set. Say where the meetings are: "
    "DATABASE_URL=embedded for a database of its own on this PC."
)


def load_settings(
    needs: Iterable[Need] = (), *, environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """
    Read, check, and create the directories that must exist.

    Raises:
        ConfigurationError: its message lists every problem, one per line; `details["problems"]` holds them as a list.
    """
    values = _raw_values(os.environ if environ is None else environ, env_file)
    problems = _unknown_names(env_file)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({VARIABLES[name]: value for name, value in values.items()})
    except ValidationError as error:
        problems += [
            _explain(item) for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    problems += _missing(values, set(needs))
    if settings is not None:
        problems += _make_directories(settings, _directories(set(needs), settings))
    if problems or settings is None:
        raise ConfigurationError(
            "The settings are not right:\n" + "\n".join(f"  {p}" for p in problems), problems=problems
        )
    return settings


def _raw_values(environ: Mapping[str, str], env_file: Path | None) -> dict[str, str]:
    """Only our variables; an empty value counts as not set, as in a copied .env.example."""
    from_file = dotenv_values(env_file) if env_file is not None and env_file.is_file() else {}
    merged = {**from_file, **environ}
    return {name: value.strip() for name, value in merged.items() if name in VARIABLES and value and value.strip()}


def _unknown_names(env_file: Path | None) -> list[str]:
    """A misspelt name in .env would otherwise be ignored without a word."""
    if env_file is None or not env_file.is_file():
        return []
    problems = []
    for name in dotenv_values(env_file):
        close = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
        if name not in VARIABLES and close:
            problems.append(f"{name}: not a setting. Did you mean {close[0]}?")
    return problems


def _explain(item: Any) -> str:
    name = str(item["loc"][0]).upper()
    message = str(item["msg"]).removeprefix("Value error, ")
    description = Settings.model_fields[str(item["loc"][0])].description
    return f"{name}: {message[0].lower()}{message[1:]}. {description}. Correct it in .env."


def _missing(values: Mapping[str, str], needs: set[Need]) -> list[str]:
    problems = []
    if Need.WORKER in needs and "WORKER_ID" not in values:
        problems.append(
            "WORKER_ID: not set. Give this worker a name that no other one has, such as WORKER_ID=lab-pc-1."
        )
    has_url, has_key, has_database = ("SUPABASE_URL" in values, "SUPABASE_KEY" in values, "DATABASE_URL" in values)
    if has_database and has_url:
        problems.append("DATABASE_URL and SUPABASE_URL: both are set. Keep the one where the meetings are.")
    if has_url and not has_key:
        problems.append("SUPABASE_KEY: not set. Copy it from the project's API settings.")
    if has_key and not has_url:
        problems.append("SUPABASE_URL: not set. Copy it from the project's API settings.")
    if Need.DATABASE in needs and not (has_url or has_key or has_database):
        problems.append(_NEEDED_DATABASE)
    return problems


def _directories(needs: set[Need], settings: Settings) -> list[str]:
    """The directories that a command writes into."""
    names = ["storage_dir"] if Need.DATABASE in needs and settings.database_url is not None else []
    return [*names, "audio_temp_dir", "model_cache_dir", "log_dir"] if Need.WORKER in needs else names


def _make_directories(settings: Settings, names: list[str]) -> list[str]:
    problems = []
    for name in names:
        folder: Path = getattr(settings, name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK | os.X_OK)
        except OSError:
            writable = False
        if not writable:
            problems.append(
                f"{name.upper()}: {folder} cannot be created or written. Choose another folder or its owner."
            )
    return problems
