"""What tables are like, read from Postgres' catalog: as values that can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    is_not_null: bool = False
    default: str | None = None
    identity: str = ""
    """`a`: generated always, `d`: by default, empty: no identity column."""
    is_computed: bool = False
    """Generated from other columns: it cannot be written."""

    @property
    def fills_itself(self) -> bool:
        return self.default is not None or bool(self.identity) or self.is_computed


@dataclass(frozen=True)
class Constraint:
    """A constraint, or a unique index that is none (`kind` is then `i`)."""

    name: str
    kind: str
    """`p`rimary key, `u`nique, `c`heck, `f`oreign key, e`x`clusion, or `i`."""
    columns: tuple[str, ...]
    definition: str
    refers_to: str | None = None
    on_delete: str | None = None
    """pg_constraint.confdeltype: `c`ascade, set `n`ull, no `a`ction, `r`estrict, set `d`efault."""

    @property
    def condition(self) -> str:
        """The expression of a check."""
        return self.definition.removeprefix("CHECK ").removesuffix(" NOT VALID")


@dataclass(frozen=True)
class Trigger:
    name: str
    function: str
    names_status: bool
    """Whether its function's text speaks of a status."""
    is_on_update: bool


@dataclass(frozen=True)
class Table:
    name: str
    kind: str = "r"
    """pg_class.relkind; `r` is an ordinary table."""
    owner: str = ""
    is_ours: bool = True
    """Whether the role that migrates has the rights of the owner."""
    is_row_secured: bool = False
    is_owner_bound: bool = False
    """Row level security holds for the role that migrates too: it may not see all rows."""
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    policies: tuple[str, ...] = ()
    has_rows: bool = False

    def key(self) -> Constraint | None:
        return next((found for found in self.constraints if found.kind == "p"), None)

    def is_unique(self, columns: Iterable[str]) -> bool:
        """Whether no two rows can agree in exactly these columns."""
        return any(set(found.columns) == set(columns) for found in self.constraints if found.kind in "pui")


_TABLES = """
select c.oid, c.relname, c.relkind::text, c.relowner::regrole::text, pg_has_role(current_user, c.relowner, 'usage'),
       c.relrowsecurity,
       c.relforcerowsecurity and not (select rolsuper or rolbypassrls from pg_roles where rolname = current_user)
  from pg_class c
 where c.relnamespace = %(schema)s::text::regnamespace and c.relname = any (%(names)s)
   and c.relkind not in ('i', 'I', 't')
"""

_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end, a.attidentity::text, a.attgenerated <> ''
  from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
 order by a.attnum
"""

_CONSTRAINTS = """
select c.conname, c.contype::text,
       array(select a.attname::text from unnest(c.conkey) with ordinality as k (num, position)
               join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num order by k.position),
       pg_get_constraintdef(c.oid), nullif(c.confrelid, 0)::regclass::text, nullif(c.confdeltype::text, ' ')
  from pg_constraint c
 where c.conrelid = %(oid)s and c.contype in ('p', 'u', 'c', 'f', 'x')
union all
select (select relname from pg_class where oid = i.indexrelid), 'i',
       array(select a.attname::text from unnest(i.indkey::smallint[]) with ordinality as k (num, position)
               join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num order by k.position),
       pg_get_indexdef(i.indexrelid), null, null
  from pg_index i
 where i.indrelid = %(oid)s and i.indisunique and i.indpred is null and i.indexprs is null
   and not exists (select from pg_constraint c where c.conindid = i.indexrelid and c.conrelid = %(oid)s)
 order by 1
"""

_TRIGGERS = """
select t.tgname, p.proname, p.prosrc ~* '\\mstatus\\M', (t.tgtype & 16) > 0
  from pg_trigger t join pg_proc p on p.oid = t.tgfoid
 where t.tgrelid = %s and not t.tgisinternal
 order by t.tgname
"""

_POLICIES = "select polname from pg_policy where polrelid = %s order by polname"


def tables_in(connection: psycopg.Connection, schema: str, names: Iterable[str]) -> dict[str, Table]:
    """What stands in `schema` under these names. Needs an empty search_path, so that other names come with theirs."""
    found = connection.execute(_TABLES, {"schema": schema, "names": list(names)}).fetchall()
    return {row[1]: _table(connection, schema, row) for row in found}


def _table(connection: psycopg.Connection, schema: str, row: tuple[Any, ...]) -> Table:
    oid, name, kind, owner, is_ours, is_row_secured, is_owner_bound = row

    def rows_of(query: LiteralString) -> list[tuple[Any, ...]]:
        return connection.execute(query, {"oid": oid} if "(oid)" in query else [oid]).fetchall()

    return Table(
        name=name,
        kind=kind,
        owner=owner,
        is_ours=is_ours,
        is_row_secured=is_row_secured,
        is_owner_bound=is_owner_bound,
        columns={column[0]: Column(*column) for column in rows_of(_COLUMNS)},
        constraints=tuple(_constraint(schema, *found) for found in rows_of(_CONSTRAINTS)),
        triggers=tuple(Trigger(*trigger) for trigger in rows_of(_TRIGGERS)),
        policies=tuple(policy for (policy,) in rows_of(_POLICIES)),
        has_rows=kind == "r" and is_ours and _has_rows(connection, schema, name),
    )


def _constraint(
    schema: str, name: str, kind: str, columns: list[str], definition: str, refers_to: str | None, on_delete: str | None
) -> Constraint:
    """As if the schema were `public`."""
    refers_to = refers_to and refers_to.replace(f"{schema}.", "public.")
    definition = definition.replace(f" {schema}.", " public.")
    return Constraint(name, kind, tuple(columns), definition, refers_to, on_delete)


def _has_rows(connection: psycopg.Connection, schema: str, name: str) -> bool:
    from psycopg import sql

    query = sql.SQL("select exists (select from {})").format(sql.Identifier(schema, name))
    row = connection.execute(query).fetchone()
    return row is not None and bool(row[0])
