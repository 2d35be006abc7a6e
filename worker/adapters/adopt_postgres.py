"""
Adoption: a project whose database has tables of our names, made by somebody before the worker came, becomes ours.

All of it, the migrations included, is one transaction of the caller's: either everything fits, or nothing is changed
and the error lists what is in the way. What our tables must look like is not written down twice: 0001 is run for a
moment in a schema of its own, read back from the catalog, and undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.adapters.adopt_catalog import Table, tables_in
from worker.adapters.adopt_columns import plan_columns
from worker.adapters.adopt_constraints import plan_constraints
from worker.adapters.adopt_names import OwnNames, leftovers, name_clashes
from worker.adapters.adopt_plan import Clash, Plan, can_be_adopted, judge_policies, judge_triggers, quoted, settled
from worker.adapters.adopt_rights import Rights, give_back, rights_of
from worker.adapters.adopt_rows import make_jobs, notes_on_rows
from worker.adapters.adopt_values import plan_values
from worker.exceptions import SchemaClashError

if TYPE_CHECKING:
    import psycopg

TABLES = (
    "meetings",
    "speakers",
    "transcript_segments",
    "meeting_speakers",
    "speaker_embeddings",
    "meeting_summaries",
)
"""What people see; in the order in which 0001 makes them."""

SCRATCH = "pc_worker_expected"


@dataclass
class Adoption:
    """What is known of the tables that are there, and what was done with them."""

    tables: dict[str, Table]
    plan: Plan
    rights: Mapping[str, Rights]
    adopted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_needed(connection: psycopg.Connection, scripts: Sequence[str]) -> bool:
    """Whether a database without our records has something under one of our names."""
    return bool(
        _taken(connection) or leftovers(connection) or name_clashes(connection, OwnNames.of(scripts))
    )  # the order is that of the cost


def prepare(connection: psycopg.Connection, scripts: Sequence[str]) -> Adoption:
    """
    Lock the tables that are there, and make them what the rest of 0001 expects.

    Args:
        scripts: the SQL of all migrations, 0001 first.

    Raises SchemaClashError, whose `details["clashes"]` are `Clash`es, when something cannot be adopted.
    """
    in_the_way = leftovers(connection)
    if in_the_way:
        raise _refusal(in_the_way)
    names = OwnNames.of(scripts)
    _lock(connection)
    found, expected = _described(connection, scripts[0])
    plan = _planned(connection, expected, found, names)
    clashes = [*name_clashes(connection, names), *plan.clashes]
    for check in plan.checks:
        clashes += [check.clash(*row) for row in connection.execute(check.query.encode()).fetchall()]
    if clashes:
        raise _refusal(clashes)
    rights = {name: rights_of(connection, found[name], expected[name]) for name in found}
    adoption = Adoption(found, plan, rights)
    _change(connection, adoption)
    return adoption


def first_script(script: str) -> str:
    """0001 for a database where some of its tables are."""
    return re.sub(r"^create (table|index) (?=(?:\w+ on )?public\.)", r"create \1 if not exists ", script, flags=re.M)


def link(connection: psycopg.Connection, adoption: Adoption) -> None:
    """After 0001, when all tables are there: the references between them."""
    _run(connection, adoption.plan.linked)


def finish(connection: psycopg.Connection, adoption: Adoption) -> None:
    """After all migrations: jobs for the meetings that are there, rights on columns of theirs, and what to say."""
    if "meetings" in adoption.tables:
        make_jobs(connection)
        adoption.notes += notes_on_rows(connection, adoption.plan.new_columns.get("meetings", []))
    for name, table in adoption.tables.items():
        adoption.notes += give_back(connection, table, adoption.rights[name])
        adoption.adopted.append(_summary(connection, name, adoption.plan.new_columns.get(name, [])))
    adoption.notes += adoption.plan.notes


# --- finding out -------------------------------------------------------------------------------------------------


def _taken(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relname = any (%s)",
        [list(TABLES)],
    ).fetchall()
    return [name for name in TABLES if (name,) in rows]


def _lock(connection: psycopg.Connection) -> None:
    """What is compared now is what is changed in a moment."""
    rows = connection.execute(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relname = any (%s)"
        " and relkind = 'r' and pg_has_role(current_user, relowner, 'usage')",
        [list(TABLES)],
    ).fetchall()
    for name in TABLES:
        if (name,) in rows:
            connection.execute(f"lock table public.{name} in access exclusive mode".encode())


def _described(connection: psycopg.Connection, script: str) -> tuple[dict[str, Table], dict[str, Table]]:
    """(what is there, what should be), as the catalog tells it; changes nothing."""
    import psycopg

    found: dict[str, Table] = {}
    expected: dict[str, Table] = {}
    with connection.transaction():  # within the caller's: a savepoint
        connection.execute("set local search_path = ''")  # so that the catalog's texts name every schema
        found.update(tables_in(connection, "public", TABLES))
        connection.execute(f"create schema {SCRATCH}".encode())
        connection.execute(script.replace("public.", f"{SCRATCH}.").encode())
        expected.update(tables_in(connection, SCRATCH, TABLES))
        raise psycopg.Rollback
    ordered = {name: found[name] for name in TABLES if name in found}
    return ordered, {name: expected[name] for name in TABLES}


def _planned(
    connection: psycopg.Connection, expected: Mapping[str, Table], found: Mapping[str, Table], names: OwnNames
) -> Plan:
    plan, role = Plan(), connection.execute("select current_user").fetchone()
    assert role is not None
    for name, theirs in found.items():
        if can_be_adopted(plan, theirs, str(role[0])):
            plan_columns(plan, expected[name], theirs, found.get("meetings"))
            plan_constraints(plan, expected[name], theirs, found)
            plan_values(plan, theirs)
            judge_triggers(plan, theirs, names.triggers)
            judge_policies(plan, theirs, names.policies)
    return plan


def _refusal(clashes: list[Clash]) -> SchemaClashError:
    listed = settled(clashes)
    lines = [f"- {clash.problem}" + (f"\n    {clash.remedy}" if clash.remedy else "") for clash in listed]
    # the last line is none of SQL: whoever prints an error puts its code behind it
    return SchemaClashError(
        "The database holds things of the worker's names that do not fit. Do what stands below, in this order, for "
        "example in the SQL editor, then run `python -m worker migrate` again:\n" + "\n".join(lines) + "\n"
        "Nothing was changed.",
        clashes=listed,
    )


# --- changing ----------------------------------------------------------------------------------------------------


def _change(connection: psycopg.Connection, adoption: Adoption) -> None:
    _run(connection, adoption.plan.added)
    with _silenced(connection, list(adoption.tables)):
        for fill in adoption.plan.fills:
            num = connection.execute(fill.statement.encode()).rowcount
            adoption.notes += [fill.note.format(num=num)] if num else []
    _run(connection, adoption.plan.tightened)


def _run(connection: psycopg.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.execute(statement.encode())


@contextmanager
def _silenced(connection: psycopg.Connection, tables: list[str]) -> Iterator[None]:
    """Their triggers must not take our filling in for somebody's edit: an updated_at would be lost."""
    enabled = {"O": "enable", "A": "enable always", "R": "enable replica"}
    triggers = connection.execute(
        "select c.relname, t.tgname, t.tgenabled::text from pg_trigger t join pg_class c on c.oid = t.tgrelid"
        " where not t.tgisinternal and t.tgenabled <> 'D'"
        " and c.relnamespace = 'public'::regnamespace and c.relname = any (%s)",
        [tables],
    ).fetchall()
    _run(connection, [f"alter table public.{table} disable trigger {quoted(name)}" for table, name, _ in triggers])
    yield
    _run(
        connection,
        [f"alter table public.{table} {enabled[state]} trigger {quoted(name)}" for table, name, state in triggers],
    )


def _summary(connection: psycopg.Connection, name: str, new_columns: list[str]) -> str:
    row = connection.execute(f"select count(*) from public.{name}".encode()).fetchone()  # noqa: S608 - a name of ours
    assert row is not None
    added = f"added {', '.join(new_columns)}" if new_columns else "no column was missing"
    return f"public.{name}: {row[0]} rows kept, {added}"
