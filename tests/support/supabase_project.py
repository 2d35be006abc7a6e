"""Databases that look like a fresh Supabase project."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo

OWNER = "project_owner"
"""Stands for Supabase's `postgres` role, which the test server's superuser has the name of."""

_SQL = Path(__file__).with_suffix(".sql").read_text("utf-8")


def make_project(dsn: str) -> str:
    """Turn an empty database into a project, and return the conninfo of its owner: no superuser, as on Supabase."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_SQL.encode())
    return make_conninfo(dsn, user=OWNER)


def add_user(dsn: str, user_id: UUID | None = None) -> UUID:
    """Somebody who may sign in."""
    user_id = user_id or uuid4()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("insert into auth.users (id) values (%s) on conflict do nothing", [user_id])
    return user_id
