"""Why a language model's summary could not be had: one stable word per cause, and what to do about it."""

from __future__ import annotations

CAUSES = {
    "unreachable": "the endpoint cannot be reached; check SUMMARY_LLM_URL, and that the endpoint is running",
    "tls": "the endpoint's certificate is not trusted; check SUMMARY_LLM_URL, or name the lab's own authority in "
    "SSL_CERT_FILE",
    "timeout": "the endpoint took too long for one answer; use a faster model or raise SUMMARY_LLM_TIMEOUT_SECONDS",
    "too_slow": "the whole summary took too long; use a faster model, or raise SUMMARY_LLM_TIMEOUT_SECONDS",
    "connection_lost": "the endpoint broke the connection off; look into its log",
    "unauthorized": "the endpoint does not let this worker in; check SUMMARY_LLM_KEY",
    "model_missing": "the endpoint has no such model or no such address; check SUMMARY_LLM_MODEL and SUMMARY_LLM_URL, "
    "which usually ends with /v1",
    "rate_limited": "the endpoint has had too many requests; wait, or raise its limit",
    "server_error": "the endpoint had an error of its own; look into its log",
    "rejected": "the endpoint rejected the request; look into its log",
    "not_an_api": "what answered is no OpenAI-compatible endpoint; check SUMMARY_LLM_URL, which usually ends with /v1",
    "empty": "the model answered nothing; try another model",
    "cut_short": "the model's answer was cut off before its end; raise SUMMARY_LLM_CONTEXT_TOKENS, or use a model that "
    "thinks less",
    "refused": "the model refused to write it; try another model",
    "invalid": "the model's answer was not what was asked for, twice; try a larger model",
    "context_too_long": "the endpoint finds the questions too long; lower SUMMARY_LLM_CONTEXT_TOKENS, or raise the "
    "endpoint's context",
    "unproved": "nothing that the model wrote could be shown in the transcript; try a larger model",
    "unforeseen": "something unforeseen went wrong; look into this PC's log",
}


class LlmError(Exception):
    """The language model gave no summary; `cause` is a key of CAUSES."""

    def __init__(self, cause: str) -> None:
        super().__init__(CAUSES[cause])
        self.cause = cause


class TooLongError(LlmError):
    """A question, or its answer, does not fit; half of it may."""
