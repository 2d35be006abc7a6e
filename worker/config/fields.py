"""
What may be set, and what each value alone must look like.

Field names are the variables' names in lower case; the description of each field is the sentence of the README's table.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

_PASSWORD = re.compile(r"^\w+://[^:/@]*:(.*)@[^@]*$")  # not urlsplit: people paste passwords with @ [ ] unescaped


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
    if value == "embedded" or value.startswith("embedded:"):
        return url
    if not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be `embedded`, `embedded:FOLDER` or begin with postgresql://")
    return _owners_database(url)


def _owners_database(url: SecretStr) -> SecretStr:
    value = url.get_secret_value()
    if not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    if "[YOUR-PASSWORD]" in value:
        raise ValueError("must hold the database password in place of [YOUR-PASSWORD]")
    return url


def _webhook(url: SecretStr) -> SecretStr:
    _https_or_loopback(url.get_secret_value())
    return url


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ValueError("must begin with http:// or https://, and hold no user and no question mark")
    return url.rstrip("/")


def _worker_id(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        return value
    raise ValueError("may hold letters, digits, dot, dash and underscore, at most 63, such as lab-pc-1")


def _languages(value: object) -> object:
    """`en, de` as it is written in a .env file."""
    return tuple(part.strip().lower() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


HttpsUrl = Annotated[str, AfterValidator(_https_or_loopback)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
OwnersDatabaseUrl = Annotated[SecretStr, AfterValidator(_owners_database)]
LlmUrl = Annotated[str, AfterValidator(_endpoint)]
WebhookUrl = Annotated[SecretStr, AfterValidator(_webhook)]
WorkerId = Annotated[str, AfterValidator(_worker_id)]
Languages = Annotated[tuple[str, ...], BeforeValidator(_languages)]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


class Settings(BaseModel):
    """What an administrator may set. Secrets never appear in its repr."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    # where meetings come from
    supabase_url: HttpsUrl | None = Field(None, description="Address of the Supabase project")
    supabase_key: SecretStr | None = Field(
        None, description="Key of the Supabase project: secret or service_role; or publishable, with a worker token"
    )
    supabase_worker_token: SecretStr | None = Field(
        None,
        description="Lets a PC with the publishable key run the worker and nothing else (`python -m worker token`)",
    )
    database_url: DatabaseUrl | None = Field(
        None, description="Instead of Supabase: `embedded`, `embedded:FOLDER` or a postgresql:// address"
    )
    storage_dir: Path = Field(Path("recordings"), description="With DATABASE_URL: the folder that holds the recordings")
    allow_private_audio_urls: bool = Field(
        False, description="Fetch a meeting's audio_url also from addresses inside the own network"
    )

    # who this worker is
    worker_id: WorkerId | None = Field(None, description="Unique name of this worker in the fleet, such as lab-pc-1")
    worker_name: str | None = Field(None, max_length=200, description="Name for people; WORKER_ID if not set")

    # what it runs on
    enable_gpu: bool = Field(True, description="Use the GPU if there is one (engine whisperx)")
    cuda_device: int = Field(0, ge=0, description="Number of the GPU, as `nvidia-smi -L` lists it")
    asr_engine: Literal["whisperx", "sphinx"] = Field(
        "whisperx", description="`whisperx`, or `sphinx`: offline, English, rough"
    )
    whisper_model: str = Field(
        "auto",
        min_length=1,
        description="Whisper model: a name, a folder, or `auto`: the best for the GPU's memory, or the CPU",
    )
    whisper_compute_type: Literal["auto", "float16", "bfloat16", "int8_float16", "int8", "float32"] = Field(
        "auto", description="Number format of the Whisper model; `auto` chooses by GPU and free memory"
    )
    whisper_batch_size: int | None = Field(
        None, ge=2, le=64, description="Passages that Whisper works on at once; by free memory if not set"
    )
    align_model: str | None = Field(
        None, min_length=1, description="wav2vec2 model for word times: a name or a folder; by language if not set"
    )
    align_compute_type: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Number format of the wav2vec2 model; `auto` is bfloat16 where the processor has it"
    )
    allowed_languages: Languages = Field(
        (), description="Languages that may be found in a recording, such as `en,de`; all if not set"
    )
    diarizer: Literal["auto", "pyannote", "bundled"] = Field(
        "auto",
        description="Who tells speakers apart: `pyannote`, `bundled`, or `auto`: pyannote if its model is to be had",
    )
    pyannote_model: str = Field(
        "pyannote/speaker-diarization-community-1", min_length=1, description="pyannote's pipeline: a name or a folder"
    )
    unload_asr: bool | None = Field(
        None, description="Give Whisper's memory back before diarization; by free memory if not set"
    )
    allow_smaller_model: bool = Field(
        True,
        description="When the GPU's memory does not suffice, go on with a smaller Whisper model that is on this PC",
    )
    allow_cpu_fallback: bool = Field(
        False, description="When the GPU's memory does not suffice for anything, go on with the CPU"
    )
    gpu_busy_mb: int | None = Field(
        None, ge=1, description="Begin nothing while other programs hold more than this much of the GPU's memory, in MB"
    )
    identify_speakers: bool = Field(
        True, description="Recognise people by their voices; off: no voice is kept beyond its meeting"
    )
    summary_llm_url: LlmUrl | None = Field(
        None, description="OpenAI-compatible endpoint that writes summaries, such as http://gpu-box:11434/v1"
    )
    summary_llm_model: str | None = Field(None, min_length=1, description="Name of the endpoint's model")
    summary_llm_key: SecretStr | None = Field(None, description="Key of the endpoint, if it asks for one")
    summary_llm_context_tokens: int = Field(
        8192, ge=2048, description="How many tokens question and answer together may have"
    )
    summary_llm_timeout_seconds: float = Field(
        300.0, gt=0, le=3600, description="How long one answer of the endpoint may take"
    )
    summary_language: str | None = Field(
        None, min_length=2, description="Language of summaries, such as `en`; the meeting's own if not set"
    )
    models_offline: bool = Field(False, description="Never ask a model hub; use what is on this PC")
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
    deadline_hours: float = Field(
        2.0,
        gt=0,
        le=1000,
        description="Longest work of the engine on one meeting, in hours; of a long recording see DEADLINE_FACTOR",
    )
    deadline_factor: float = Field(
        6.0, ge=0, le=1000, description="The same in lengths of its recording; the longer of the two counts"
    )
    audio_temp_dir: Path = Field(Path("temp_audio"), description="Working files of meetings in progress")
    keep_temp_days: float = Field(7.0, gt=0, description="Working files of abandoned meetings are removed after this")
    keep_stages_days: float = Field(
        0.0,
        ge=0,
        description="Texts and voices of completed meetings stay on this PC so long, for `retry` to reuse",
    )

    min_free_disk_bytes: int = Field(
        2 * 1024**3, ge=0, description="With less free where working files are, no meeting is begun; 0 to never mind"
    )

    # what it says
    notify_webhook_url: WebhookUrl | None = Field(
        None, description="Slack-compatible webhook that is told of troubles, and once a day what was done"
    )
    queue_alarm_hours: float = Field(
        2.0, gt=0, description="It is a trouble when a meeting that is due waits longer than this"
    )
    log_level: LogLevel = Field("INFO", description="What the console shows: DEBUG, INFO, WARNING or ERROR")
    log_format: Literal["text", "json"] = Field("text", description="`text`, or `json` for machines")
    log_dir: Path = Field(Path("logs"), description="Where the log files are")
    health_port: int | None = Field(
        None, ge=1, le=65535, description="Serve /live, /ready, /health and /metrics on this port; nothing if not set"
    )
    health_host: str = Field(
        "127.0.0.1", min_length=1, description="Address that HEALTH_PORT listens on; the default is this PC alone"
    )

    # for administrators: from the environment or .env.admin, and never known to a running worker
    supabase_admin_key: SecretStr | None = Field(
        None, description="In .env.admin: secret or service_role key for `enqueue`, `list` and other commands of people"
    )
    supabase_db_url: OwnersDatabaseUrl | None = Field(
        None, description="In .env.admin: postgresql:// address of the project's database, for `migrate`"
    )
    supabase_jwt_secret: SecretStr | None = Field(
        None, description="In .env.admin: the project's legacy JWT secret, for `token`"
    )

    @property
    def display_name(self) -> str:
        return self.worker_name or self.worker_id or ""

    def secrets(self) -> tuple[str, ...]:
        """What must never be seen in a log."""
        kept = [
            self.supabase_key,
            self.supabase_worker_token,
            self.supabase_admin_key,
            self.supabase_jwt_secret,
            self.hf_token,
            self.summary_llm_key,
            self.notify_webhook_url,
        ]
        passwords = [word for url in (self.database_url, self.supabase_db_url) if url for word in passwords_in(url)]
        return tuple(word for word in [*(s.get_secret_value() for s in kept if s), *passwords] if word)


def passwords_in(url: SecretStr) -> set[str]:
    """The password of a postgresql:// address as it is written there, and as the server gets it."""
    text = url.get_secret_value()
    query = parse_qs(text.partition("?")[2]).get("password", [])
    found = _PASSWORD.match(text.partition("?")[0])
    written = [*query, *([found[1]] if found else [])]
    return {spelling for word in written for spelling in (word, unquote(word)) if spelling}


VARIABLES: dict[str, str] = {name.upper(): name for name in Settings.model_fields}

ADMIN_VARIABLES = frozenset({"SUPABASE_ADMIN_KEY", "SUPABASE_DB_URL", "SUPABASE_JWT_SECRET"})
"""Never in .env, which a service reads: a lab PC must not hold what rules the whole project."""
