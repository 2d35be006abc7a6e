"""With which key this process goes to the Supabase project: part of the composition root."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from worker.config import Settings
from worker.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class ProjectAccess:
    """`worker_token` goes along with a public key only."""

    url: str
    key: SecretStr
    worker_token: SecretStr | None = None

    @property
    def token_text(self) -> str | None:
        return None if self.worker_token is None else self.worker_token.get_secret_value()

    @property
    def by_variable(self) -> dict[str, str]:
        """What may expire, under the name of its setting."""
        token = {"SUPABASE_WORKER_TOKEN": self.token_text} if self.token_text else {}
        return {"SUPABASE_KEY": self.key.get_secret_value(), **token}


def project_access(settings: Settings) -> ProjectAccess | None:
    """
    An administrator's key where it is known (it never is to a worker), else the PC's own. None without a project.

    Raises ConfigurationError when there is a project and no key.
    """
    if settings.supabase_url is None:
        return None
    if settings.supabase_admin_key is not None:
        return ProjectAccess(settings.supabase_url, settings.supabase_admin_key)
    if settings.supabase_key is None:
        raise ConfigurationError("SUPABASE_KEY: not set. Copy it from the project's API settings.")
    return ProjectAccess(settings.supabase_url, settings.supabase_key, settings.supabase_worker_token)
