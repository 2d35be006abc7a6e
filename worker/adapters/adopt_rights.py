"""
What people may do with columns of their own: the same after the adoption as before.

The migrations open our columns one by one and close everything else. For signed-in users, columns that are not ours get
back exactly what they had; what is lost on ours is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.adapters.adopt_catalog import Table
from worker.adapters.adopt_plan import named

if TYPE_CHECKING:
    import psycopg

ROLES = ("anon", "authenticated")
USERS = "authenticated"
WRITES = ("insert", "update")

_COLUMNS = """
select r.rolname, p.privilege, a.attname
  from pg_roles r
 cross join unnest('{select,insert,update}'::text[]) as p (privilege)
  join pg_attribute a on a.attrelid = %(table)s::text::regclass and a.attnum > 0 and not a.attisdropped
 where r.rolname = any (%(roles)s) and has_column_privilege(r.oid, a.attrelid, a.attnum, p.privilege)
 order by p.privilege, a.attnum
"""

_DELETE = """
select rolname from pg_roles where rolname = any (%(roles)s) and has_table_privilege(oid, %(table)s::text, 'delete')
"""

_SEQUENCES = """
select s.oid::regclass::text, a.attname
  from pg_class s
  join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = s.oid and d.deptype = 'a'
   and d.refclassid = 'pg_class'::regclass and d.refobjid = %(table)s::text::regclass
  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
 where s.relkind = 'S'
   and exists (select from pg_roles where rolname = %(user)s and has_sequence_privilege(oid, s.oid, 'usage'))
"""

_VIEWS = """
select distinct v.oid::regclass::text
  from pg_depend d join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  join pg_class v on v.oid = r.ev_class
 where d.refclassid = 'pg_class'::regclass and d.refobjid = %(table)s::text::regclass and v.relkind in ('v', 'm')
   and not coalesce('security_invoker=true' = any (v.reloptions), false)
   and not coalesce('security_invoker=on' = any (v.reloptions), false)
   and exists (select from pg_roles where rolname = any (%(roles)s) and has_any_column_privilege(oid, v.oid, 'select'))
 order by 1
"""


@dataclass(frozen=True)
class Rights:
    """(role, privilege, column), and who may delete rows."""

    columns: tuple[tuple[str, str, str], ...]
    deleters: frozenset[str]
    extra: tuple[str, ...]
    """Columns that are not ours."""
    sequences: tuple[str, ...]
    """What numbers them, as far as signed-in users may draw from it: without that they could not insert."""

    def of(self, role: str, privilege: str) -> list[str]:
        return [column for who, what, column in self.columns if (who, what) == (role, privilege)]


def rights_of(connection: psycopg.Connection, table: Table, ours: Table) -> Rights:
    parameters = {"table": f"public.{table.name}", "roles": list(ROLES), "user": USERS}
    extra = tuple(name for name in table.columns if name not in ours.columns)
    return Rights(
        tuple(connection.execute(_COLUMNS, parameters).fetchall()),
        frozenset(role for (role,) in connection.execute(_DELETE, parameters).fetchall()),
        extra,
        tuple(name for name, column in connection.execute(_SEQUENCES, parameters).fetchall() if column in extra),
    )


def give_back(connection: psycopg.Connection, table: Table, before: Rights) -> list[str]:
    """Signed-in users' rights on columns that are not ours, as they were; sentences about what is gone."""
    name = f"public.{table.name}"
    for privilege in WRITES:
        kept = [column for column in before.of(USERS, privilege) if column in before.extra]
        if kept:
            connection.execute(f"grant {privilege} ({named(kept)}) on {name} to {USERS}".encode())
    for sequence in before.sequences:
        connection.execute(f"grant usage on sequence {sequence} to {USERS}".encode())
    now = rights_of(connection, table, table)
    _select_as_before(connection, name, before, now)
    now = rights_of(connection, table, table)
    return [sentence for role in ROLES for sentence in _lost(name, role, before, now)] + _seen_through(connection, name)


def _seen_through(connection: psycopg.Connection, name: str) -> list[str]:
    views = [view for (view,) in connection.execute(_VIEWS, {"table": name, "roles": list(ROLES)}).fetchall()]
    if not views:
        return []
    return [
        f"These views show {name} with their owner's rights, past row level security, to people: {', '.join(views)}. "
        "To close that: alter view ... set (security_invoker = true)."
    ]


def _select_as_before(connection: psycopg.Connection, name: str, before: Rights, now: Rights) -> None:
    """A migration opens all columns of a table to be read; of those that are not ours, some were not, or some were."""
    seen, wanted = now.of(USERS, "select"), set(before.of(USERS, "select"))
    visible = [column for column in seen if column not in before.extra or column in wanted]
    if visible != seen:
        connection.execute(f"revoke select on {name} from {USERS}".encode())  # noqa: S608 - both names are ours
    added = [column for column in before.extra if column in wanted and column not in seen]
    if visible != seen or added:
        connection.execute(f"grant select ({named(visible + added)}) on {name} to {USERS}".encode())


def _lost(name: str, role: str, before: Rights, now: Rights) -> list[str]:
    parts = []
    for privilege in ("select", *WRITES):
        had, has = before.of(role, privilege), set(now.of(role, privilege))
        gone = [column for column in had if column not in has]
        if gone:
            parts.append(f"{privilege} {'anything' if not has else ', '.join(gone)}")
    if role in before.deleters - now.deleters:
        parts.append("delete rows")
    return [f"The role {role} may no longer do this with {name}: {'; '.join(parts)}."] if parts else []
