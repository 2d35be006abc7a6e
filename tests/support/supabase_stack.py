"""A whole Supabase project for tests: Postgres made to look like one, PostgREST, Storage, and their gateway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support import project_keys
from tests.support.gateway import Gateway
from tests.support.postgrest import Postgrest
from tests.support.supabase_project import make_project
from worker.adapters.migrate_postgres import migrate


@dataclass(frozen=True)
class SupabaseStack:
    """`dsn` is the superuser's, `owner_dsn` that of the role which owns the project's tables."""

    dsn: str
    owner_dsn: str
    postgrest: Postgrest
    gateway: Gateway

    @property
    def url(self) -> str:
        """What SUPABASE_URL would be."""
        return self.gateway.url

    @property
    def service_key(self) -> str:
        return project_keys.token("service_role")

    @property
    def anon_key(self) -> str:
        return project_keys.token("anon")

    @property
    def worker_token(self) -> str:
        return project_keys.token(project_keys.WORKER_ROLE)


@contextlib.contextmanager
def supabase_stack(dsn: str, *, storage_url: str = "") -> Iterator[SupabaseStack]:
    """An empty database as a migrated project with everything in front of it. About a second: share it."""
    owner_dsn = make_project(dsn)
    migrate(owner_dsn)
    with Postgrest(dsn) as postgrest, Gateway(postgrest.url, storage_url) as gateway:
        yield SupabaseStack(dsn, owner_dsn, postgrest, gateway)
