"""Names that the migrations are going to use, and what of somebody else's has one of them already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.adopt_plan import Clash, quoted

if TYPE_CHECKING:
    import psycopg

_FUNCTION = re.compile(r"^\s*create (?:or replace )?function public\.(\w+)", re.M)
_TABLE = re.compile(r"^create table public\.(\w+)", re.M)
_VIEW = re.compile(r"^\s*create (?:or replace )?view public\.(\w+)", re.M)
_TRIGGER = re.compile(r"^\s*create trigger (\w+)[^;]*? on public\.(\w+)", re.M)
_COLUMN = re.compile(r"^alter table public\.(\w+)\s+add column (?!if not exists)(\w+)", re.M)
_POLICY = re.compile(r"^\s*create policy (\w+) on public\.(\w+)", re.M)


@dataclass(frozen=True)
class OwnNames:
    """
    What the migrations make in `public`, but for the tables of 0001, which are adopted where they are. Triggers,
    policies and columns are (table, name).
    """

    functions: frozenset[str]
    relations: frozenset[str]
    """Views, and tables of later migrations."""
    triggers: frozenset[tuple[str, str]]
    policies: frozenset[tuple[str, str]]
    columns: frozenset[tuple[str, str]]
    """Of later migrations that cannot do with a column of somebody else's."""

    @classmethod
    def of(cls, scripts: Sequence[str]) -> OwnNames:
        """Read from the text: what the scripts make by `execute` is not seen."""
        text = "\n".join(scripts)
        return cls(
            frozenset(_FUNCTION.findall(text)),
            frozenset([*_VIEW.findall(text), *_TABLE.findall("\n".join(scripts[1:]))]),
            frozenset((table, name) for name, table in _TRIGGER.findall(text)),
            frozenset((table, name) for name, table in _POLICY.findall(text)),
            frozenset((table, name) for table, name in _COLUMN.findall(text)),
        )


def name_clashes(connection: psycopg.Connection, names: OwnNames) -> list[Clash]:
    """Functions, views, tables and columns of these names."""
    functions = connection.execute(
        "select proname, pg_get_function_identity_arguments(oid) from pg_proc"
        " where pronamespace = 'public'::regnamespace and proname = any (%s) order by 1, 2",
        [sorted(names.functions)],
    ).fetchall()
    relations = connection.execute(
        "select relname, case relkind"
        " when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end"
        " from pg_class where relnamespace = 'public'::regnamespace and relname = any (%s) order by 1",
        [sorted(names.relations)],
    ).fetchall()
    columns = connection.execute(
        "select c.relname, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relnamespace = 'public'::regnamespace and not a.attisdropped"
        " and c.relname || '.' || a.attname = any (%s) order by 1, 2",
        [[f"{table}.{name}" for table, name in sorted(names.columns)]],
    ).fetchall()
    return [
        *(_function_clash(*found) for found in functions),
        *(_relation_clash(*found) for found in relations),
        *(_column_clash(*found) for found in columns),
    ]


def leftovers(connection: psycopg.Connection) -> list[Clash]:
    """A schema pc_worker that holds something and no record of our migrations."""
    num = connection.execute(
        "select count(*) from pg_class where relnamespace = to_regnamespace('pc_worker') and relname <> 'migrations'"
        " and relkind in ('r', 'v', 'S', 'p', 'm')"
    ).fetchone()
    if num is None or num[0] == 0:
        return []
    problem = "The schema pc_worker holds tables, but no record of the worker's migrations. Put it aside:"
    return [Clash("pc_worker", problem, "alter schema pc_worker rename to pc_worker_old;", order=0)]


def _function_clash(name: str, arguments: str) -> Clash:
    return Clash(
        name,
        f"There is a function public.{name}, which is a name of the worker's.",
        f"alter function public.{quoted(name)}({arguments}) rename to {quoted(name + '_old')};",
    )


def _relation_clash(name: str, kind: str) -> Clash:
    return Clash(
        name,
        f"There is a {kind} public.{name}, which is a name of the worker's.",
        f"alter {kind} public.{quoted(name)} rename to {quoted(name + '_old')};",
    )


def _column_clash(table: str, name: str) -> Clash:
    return Clash(
        table,
        f"There is a column public.{table}.{name}, which is a name of the worker's.",
        f"alter table public.{quoted(table)} rename column {quoted(name)} to {quoted(name + '_old')};",
    )
