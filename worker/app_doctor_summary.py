"""The doctor's room for who writes the summaries. Sends nothing that was said."""

from __future__ import annotations

from urllib.parse import urlsplit

from worker.app_doctor_check import Check, State
from worker.config import Settings

TIMEOUT_S = 5.0
MAX_NAMED = 5


async def summary_check(settings: Settings) -> Check | None:
    """Whether the endpoint answers and has the model. Never a failure: without it summaries are extractive."""
    url, model = settings.summary_llm_url, settings.summary_llm_model
    if url is None or model is None:
        return None
    from worker.summarize.llm_failures import LlmError

    host = urlsplit(url).hostname
    try:
        names = await _models(settings, url, model)
    except LlmError as error:
        if error.cause != "model_missing":
            return Check("summary", State.WARNING, f"{host}: {error}. Meanwhile summaries are extractive.")
        return Check("summary", State.OK, f"{host} answers, and does not say whether it has {model}.")
    if model in names:
        return Check(
            "summary", State.OK, f"{model} at {host} writes summaries: what is said in meetings is sent there."
        )
    listed = ", ".join(names[:MAX_NAMED]) or "none"
    return Check("summary", State.WARNING, f"{host} has no {model}; it lists {listed}. Correct SUMMARY_LLM_MODEL.")


async def _models(settings: Settings, url: str, model: str) -> tuple[str, ...]:
    from worker.summarize.llm_client import Dialect, LlmClient

    key = settings.summary_llm_key.get_secret_value() if settings.summary_llm_key else None
    client = LlmClient(url=url, model=model, key=key, timeout_s=TIMEOUT_S, max_retries=0, dialect=Dialect())
    async with client:
        return await client.models()
