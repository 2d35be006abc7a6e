"""Constraint by constraint: ours are added, theirs stay as long as they let the worker write."""
# ruff: noqa: S608 - every name and text in these statements is quoted, or is one of ours

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from worker.adapters.adopt_catalog import Column, Constraint, Table
from worker.adapters.adopt_columns import NUMBERS, STATUSES
from worker.adapters.adopt_plan import (
    Clash,
    DataCheck,
    Plan,
    altered,
    literal,
    named,
    quoted,
    unique_keys,
    written_by_worker,
)
from worker.models import Stage

SAMPLES: Mapping[str, tuple[str, ...]] = {
    "status": tuple(literal(status) for status in STATUSES),
    "stage": tuple(literal(stage) for stage in Stage),
    "progress": ("0::float8", "0.5::float8", "1::float8"),
}
"""What the worker writes into a column of meetings; a check that refuses one of these refuses the worker."""

MENDED = frozenset(
    {"meetings_status_known", "meetings_failed_has_code", "meetings_completed_has_time"}
    | {"meetings_warnings_is_list", "transcript_segments_words_is_list"}
)
"""Rows that break these are filled, or listed by status (adopt_columns) or by what they hold (adopt_values)."""


def plan_constraints(plan: Plan, ours: Table, theirs: Table, parents: Mapping[str, Table]) -> None:
    """`parents`: their tables that ours refer to, as far as there are any."""
    for wanted in ours.constraints:
        if wanted.kind in "pu":
            _plan_key(plan, ours, theirs, wanted)
        elif wanted.kind == "c":
            _plan_check(plan, ours, theirs, wanted)
        elif wanted.kind == "f":
            _plan_link(plan, theirs, wanted, parents)
    for found in theirs.constraints:
        if found.kind in "puix":
            _judge_key(plan, ours, theirs, found)
        elif found.kind == "c":
            _judge_check(plan, ours, theirs, found)
        elif found.kind == "f":
            _judge_link(plan, ours, theirs, found)


# --- keys --------------------------------------------------------------------------------------------------------


def _plan_key(plan: Plan, ours: Table, theirs: Table, wanted: Constraint) -> None:
    is_number = wanted.kind == "p" and all(ours.columns[name].identity for name in wanted.columns)
    if theirs.is_unique(wanted.columns) or (is_number and theirs.key() is not None):
        return  # nothing refers to the number of a row
    columns = named(wanted.columns)
    if wanted.kind == "p" and theirs.key() is None:
        plan.tightened.append(altered(theirs.name, f"add primary key ({columns})"))
    else:
        name = wanted.name if wanted.kind == "u" else "_".join([theirs.name, *wanted.columns, "unique"])
        plan.tightened.append(altered(theirs.name, f"add constraint {quoted(name)} unique ({columns})"))
    if not all(name in theirs.columns for name in wanted.columns) or not plan.fits(theirs.name, *wanted.columns):
        return
    table = f"public.{theirs.name}"
    plan.checks.append(
        DataCheck(
            f"select count(*) from (select from {table} where ({columns}) is not null group by {columns}"
            " having count(*) > 1) as twice having count(*) > 0",
            lambda num: Clash(
                theirs.name,
                f"{table} has {num} times more than one row with the same {', '.join(wanted.columns)}. "
                "Keep one of each; this keeps an arbitrary one:",
                f"delete from {table} as a using {table} as b where a.ctid < b.ctid and "
                + " and ".join(f"a.{quoted(name)} = b.{quoted(name)}" for name in wanted.columns)
                + ";",
            ),
        )
    )


def _judge_key(plan: Plan, ours: Table, theirs: Table, found: Constraint) -> None:
    """A key of theirs on what the worker writes would refuse results, unless it holds one of ours within it."""
    columns = set(found.columns)
    if any(columns >= set(key.columns) for key in unique_keys(ours)) or columns - ours.columns.keys():
        return
    if not all(written_by_worker(theirs.name, name) for name in columns - {"user_id"}):
        return
    if theirs.name == "meetings" and "user_id" in columns:
        return
    drop = f"drop index public.{quoted(found.name)};"
    plan.clashes.append(
        Clash(
            theirs.name,
            f"The key {found.name} allows one row of public.{theirs.name} for each {', '.join(found.columns)}; "
            "the worker writes more.",
            drop if found.kind == "i" else altered(theirs.name, f"drop constraint {quoted(found.name)}"),
            order=1,
        )
    )


# --- checks ------------------------------------------------------------------------------------------------------


def _plan_check(plan: Plan, ours: Table, theirs: Table, wanted: Constraint) -> None:
    if any(found.kind == "c" and found.definition == wanted.definition for found in theirs.constraints):
        return
    if any(found.name == wanted.name for found in theirs.constraints):
        plan.clashes.append(
            Clash(
                theirs.name,
                f"public.{theirs.name} has a constraint {wanted.name}, which is a name of the worker's.",
                altered(theirs.name, f"rename constraint {quoted(wanted.name)} to {quoted(wanted.name + '_old')}"),
            )
        )
        return
    plan.tightened.append(altered(theirs.name, f"add constraint {quoted(wanted.name)} {wanted.definition}"))
    if wanted.name not in MENDED and plan.fits(theirs.name, *wanted.columns):
        plan.checks.append(_rows_against(ours, theirs, wanted))
        if theirs.name == "meetings":  # elsewhere the worker gives every value
            plan.checks += _defaults_against(theirs, ours, wanted)


def _with_defaults(rule: str, columns: Iterable[Column]) -> str:
    for column in columns:
        rule = re.sub(rf"\b{column.name}\b", f"({column.default or 'null'})::{column.type}", rule)
    return rule


def _defaults_against(theirs: Table, ours: Table, wanted: Constraint) -> list[DataCheck]:
    columns = [theirs.columns.get(name, ours.columns[name]) for name in wanted.columns]
    named_ones = [column.name for column in columns if column.name in theirs.columns and column.default is not None]
    if not named_ones:
        return []
    clash = Clash(
        theirs.name,
        f"The default of public.{theirs.name}.{', '.join(named_ones)} breaks the rule {wanted.condition}.",
        altered(theirs.name, *(f"alter column {quoted(name)} drop default" for name in named_ones)),
    )
    return [DataCheck(f"select where not {_with_defaults(wanted.condition, columns)}", lambda: clash)]


def _rows_against(ours: Table, theirs: Table, wanted: Constraint) -> DataCheck:
    missing = [ours.columns[name] for name in wanted.columns if name not in theirs.columns]
    rule = _with_defaults(wanted.condition, missing)
    table = f"public.{theirs.name}"
    column = wanted.columns[0]
    condition = f"not {rule}"
    remedy = f"update {table} set {quoted(column)} = null where {condition};"
    if wanted.columns == ("progress",):
        remedy = f"update {table} set progress = least(greatest(progress / 100.0, 0), 1) where {condition};"
    elif any(ours.columns[name].is_not_null for name in wanted.columns):
        remedy = f"delete from {table} where {condition};"
    return DataCheck(
        f"select count(*) from {table} where {condition} having count(*) > 0",
        lambda num: Clash(
            theirs.name,
            f"{num} rows of {table} do not keep to the rule {wanted.condition}. Correct them, or:",
            remedy,
        ),
    )


def _judge_check(plan: Plan, ours: Table, theirs: Table, found: Constraint) -> None:
    table = f"public.{theirs.name}"
    touched = [name for name in found.columns if name in ours.columns and written_by_worker(theirs.name, name)]
    if not touched or any(found.definition == wanted.definition for wanted in ours.constraints):
        return
    samples = SAMPLES.get(found.columns[0]) if theirs.name == "meetings" and len(found.columns) == 1 else None
    is_number = theirs.columns[found.columns[0]].type in NUMBERS
    if samples is None or not (is_number or plan.fits(theirs.name, *found.columns)):
        plan.notes.append(
            f"The check {found.name} on {table} stays: {found.condition}. If it refuses what the worker writes into "
            f"{', '.join(touched)}, meetings fail."
        )
        return
    column = quoted(found.columns[0])
    values = ", ".join(f"({sample})" for sample in samples)
    plan.checks.append(
        DataCheck(
            f"select string_agg({column}::text, ', ') from (values {values}) as meetings ({column})"
            f" where not {found.condition} having count(*) > 0",
            lambda refused: Clash(
                theirs.name,
                f"The check {found.name} on {table} refuses what the worker writes into {found.columns[0]}: {refused}.",
                altered(theirs.name, f"drop constraint {quoted(found.name)}"),
                order=1,
            ),
        )
    )


# --- references --------------------------------------------------------------------------------------------------


def _plan_link(plan: Plan, theirs: Table, wanted: Constraint, parents: Mapping[str, Table]) -> None:
    rivals = [found for found in theirs.constraints if found.kind == "f" and found.columns == wanted.columns]
    alike = [found for found in rivals if found.refers_to == wanted.refers_to]
    add = f"add constraint {quoted(wanted.name)} {wanted.definition}"
    for found in rivals:
        if found not in alike or found.on_delete != wanted.on_delete:
            plan.clashes.append(
                Clash(
                    theirs.name,
                    f"public.{theirs.name}.{', '.join(found.columns)} refers to {found.refers_to} in another way than "
                    f"the worker needs ({found.definition}).",
                    altered(theirs.name, f"drop constraint {quoted(found.name)}"),
                    order=1,
                )
            )
    if rivals or not plan.fits(theirs.name, *wanted.columns):
        return
    plan.linked.append(altered(theirs.name, add))
    parent = str(wanted.refers_to).removeprefix("public.")
    if wanted.columns[0] in theirs.columns and plan.fits(parent, "id"):
        plan.checks.append(_orphans(theirs, wanted, parents.get(parent)))


def _orphans(theirs: Table, wanted: Constraint, parent_table: Table | None) -> DataCheck:
    table, column, parent = f"public.{theirs.name}", quoted(wanted.columns[0]), wanted.refers_to
    has_ids = parent_table is not None and "id" in parent_table.columns
    known = f" and {column} not in (select id from {parent} where id is not null)" if has_ids else ""
    condition = f"{column} is not null{known}"
    gone = f"delete from {table} where" if wanted.on_delete == "c" else f"update {table} set {column} = null where"
    return DataCheck(
        f"select count(*) from {table} where {condition} having count(*) > 0",
        lambda num: Clash(
            theirs.name,
            f"{num} rows of {table} have a {wanted.columns[0]} that is not in {parent}. Correct them, or:",
            f"{gone} {condition};",
        ),
    )


def _judge_link(plan: Plan, ours: Table, theirs: Table, found: Constraint) -> None:
    """A reference of theirs on a column that the worker writes, to something that the worker does not know."""
    if any(wanted.kind == "f" and wanted.columns == found.columns for wanted in ours.constraints):
        return
    if "user_id" in found.columns or not any(
        name in ours.columns and written_by_worker(theirs.name, name) for name in found.columns
    ):
        return
    plan.clashes.append(
        Clash(
            theirs.name,
            f"public.{theirs.name}.{', '.join(found.columns)} refers to {found.refers_to}, where what the worker "
            "writes is not found.",
            altered(theirs.name, f"drop constraint {quoted(found.name)}"),
            order=1,
        )
    )
