"""Column by column: what is missing is added, what is empty and may not be is filled, what cannot be used clashes."""
# ruff: noqa: S608 - every name and text in these statements is quoted, or is one of ours

from __future__ import annotations

from worker.adapters.adopt_catalog import Column, Table
from worker.adapters.adopt_plan import (
    Clash,
    DataCheck,
    Fill,
    Plan,
    altered,
    literal,
    quoted,
    renamed,
    written_by_worker,
)

STATUSES = ("pending", "processing", "completed", "failed", "cancelled")

_MEANT = {
    **dict.fromkeys(("new", "queued", "uploaded", "waiting", "todo", "scheduled"), "pending"),
    **dict.fromkeys(("done", "complete", "finished", "success", "succeeded", "transcribed", "ready"), "completed"),
    **dict.fromkeys(("error", "errored", "failure"), "failed"),
    **dict.fromkeys(("canceled", "aborted", "deleted", "archived"), "cancelled"),
}
"""What words of other systems probably mean; anything else is best cancelled: nothing starts by itself then."""

_CONVERSIONS = {
    ("double precision", "number"): "",
    ("integer", "number"): "",
    ("jsonb", "json"): " using {c}::jsonb",
    ("timestamp with time zone", "timestamp without time zone"): " using {c} at time zone 'UTC'",
    ("timestamp with time zone", "date"): " using {c}::timestamptz",
}
"""How a column becomes ours without losing anything, by (our type, their type)."""

NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")


def plan_columns(plan: Plan, ours: Table, theirs: Table, meetings: Table | None) -> None:
    """`meetings`: theirs, if there are any."""
    for wanted in ours.columns.values():
        found = theirs.columns.get(wanted.name)
        if found is None:
            _add(plan, theirs, wanted)
        elif not _has_type(ours, wanted, found):
            _clash_of_type(plan, ours, theirs, wanted, found)
        elif found.is_computed:
            _clash(plan, theirs, found, "is computed from other columns, and the worker writes it.", "drop expression")
        else:
            _plan_emptiness(plan, theirs, wanted, found, meetings)
            _plan_default(plan, theirs, wanted, found)
    for extra in theirs.columns.values():
        if extra.name not in ours.columns and extra.is_not_null and not extra.fills_itself:
            _judge_extra(plan, theirs, extra)
    if ours.name == "meetings":
        _plan_statuses(plan, theirs)


# --- missing -----------------------------------------------------------------------------------------------------


def _add(plan: Plan, theirs: Table, wanted: Column) -> None:
    if wanted.is_not_null and not wanted.fills_itself and theirs.has_rows:
        plan.misfits.add((theirs.name, wanted.name))
        problem = (
            f"public.{theirs.name} has no column {wanted.name}, and nothing can stand in it for the rows there are."
        )
        plan.clashes.append(renamed(theirs.name, problem))
        return
    parts = ["add column", quoted(wanted.name), wanted.type]
    if wanted.identity:
        parts.append("generated always as identity")
    elif wanted.default is not None:
        parts.append(f"default {wanted.default}")
    plan.added.append(altered(theirs.name, " ".join([*parts, *(["not null"] if wanted.is_not_null else [])])))
    plan.new_columns.setdefault(theirs.name, []).append(wanted.name)


# --- types -------------------------------------------------------------------------------------------------------


def _has_type(ours: Table, wanted: Column, found: Column) -> bool:
    if found.type == wanted.type or (wanted.type, found.type) == ("text", "character varying"):
        return True
    if wanted.type == "text" and found.type.startswith("character varying("):
        return not written_by_worker(ours.name, wanted.name)  # a limit on what people write is theirs to set
    return bool(wanted.identity) and found.type in ("uuid", "integer")  # nothing refers to these numbers


def _clash_of_type(plan: Plan, ours: Table, theirs: Table, wanted: Column, found: Column) -> None:
    plan.misfits.add((theirs.name, found.name))
    problem = f"public.{theirs.name}.{found.name} is {found.type}; the worker needs {wanted.type}."
    if any(found.name in key.columns for key in ours.constraints if key.kind in "pf"):
        plan.clashes.append(renamed(theirs.name, problem))
        return
    conversion = _conversion(wanted.type, found)
    column = quoted(found.name)
    if conversion is None:
        remedy = altered(theirs.name, f"rename column {column} to {quoted(found.name + '_old')}")
        problem += " Keep it under another name; the worker then adds its own."
    else:
        drop = [f"alter column {column} drop default"] if found.default is not None else []
        remedy = altered(theirs.name, *drop, f"alter column {column} type {wanted.type}{conversion}")
    plan.clashes.append(Clash(theirs.name, problem, remedy, order=2))


def _conversion(wanted: str, found: Column) -> str | None:
    family = "number" if found.type.split("(")[0] in NUMBERS else found.type
    if found.name == "progress" and found.type in ("smallint", "integer", "bigint"):
        return f" using {quoted(found.name)} / 100.0"  # nobody counts a share in whole numbers
    if wanted == "text":
        return f" using {quoted(found.name)}::text"
    template = _CONVERSIONS.get((wanted, family))
    return None if template is None else template.format(c=quoted(found.name))


# --- empty or not ------------------------------------------------------------------------------------------------


def _plan_emptiness(plan: Plan, theirs: Table, wanted: Column, found: Column, meetings: Table | None) -> None:
    if wanted.is_not_null and not found.is_not_null:
        _forbid_emptiness(plan, theirs, wanted)
    elif found.is_not_null and not wanted.is_not_null:
        _allow_emptiness(plan, theirs, found, meetings)


def _forbid_emptiness(plan: Plan, theirs: Table, wanted: Column) -> None:
    table, column = f"public.{theirs.name}", quoted(wanted.name)
    if wanted.default is not None and wanted.name != "status":  # which status an empty one means is for people to say
        note = f"{table}.{wanted.name} was empty in {{num}} rows and is {wanted.default} there now."
        statement = f"update {table} set {column} = {wanted.default} where {column} is null"
        plan.fills.append(Fill(theirs.name, statement, note))
    elif wanted.name != "status":
        plan.checks.append(
            DataCheck(
                f"select count(*) from {table} where {column} is null having count(*) > 0",
                lambda num: Clash(
                    theirs.name,
                    f"{table}.{wanted.name} is empty in {num} rows. Give them a value, or remove them:",
                    f"delete from {table} where {column} is null;",
                ),
            )
        )
    plan.tightened.append(altered(theirs.name, f"alter column {column} set not null"))


def _allow_emptiness(plan: Plan, theirs: Table, found: Column, meetings: Table | None) -> None:
    if theirs.name == "meetings" and not written_by_worker("meetings", found.name):
        if found.name != "title":  # every way in gives one
            plan.notes.append(_left_out(theirs, found))
        return
    owner = meetings.columns.get("user_id") if meetings else None
    if (theirs.name, found.name) == ("speakers", "user_id") and owner is not None and owner.is_not_null:
        return  # no meeting without an owner, so no speaker without one
    key = theirs.key()
    if key is not None and found.name in key.columns:
        problem = f"public.{theirs.name}.{found.name} is part of the primary key; the worker leaves it empty at times."
        plan.clashes.append(renamed(theirs.name, problem))
        return
    _clash(plan, theirs, found, "may not be empty; the worker leaves it empty at times.", "drop not null")


def _judge_extra(plan: Plan, theirs: Table, extra: Column) -> None:
    key = theirs.key()
    if theirs.name == "meetings":
        plan.notes.append(_left_out(theirs, extra))
    elif key is not None and extra.name in key.columns:
        problem = f"public.{theirs.name} is keyed by {extra.name}, which the worker does not know."
        plan.clashes.append(renamed(theirs.name, problem))
    else:
        _clash(plan, theirs, extra, "may not be empty, and the worker does not fill it.", "drop not null")


def _left_out(theirs: Table, column: Column) -> str:
    return (
        f"public.{theirs.name}.{column.name} may not be empty, as before, and `python -m worker enqueue` does not fill "
        f"it, so that command is refused. To allow it: "
        f"{altered(theirs.name, f'alter column {quoted(column.name)} drop not null')}"
    )


# --- defaults and statuses ---------------------------------------------------------------------------------------


def _plan_default(plan: Plan, theirs: Table, wanted: Column, found: Column) -> None:
    column = quoted(found.name)
    if found.name == "status" and found.default is not None and found.default.split("::")[0] != "'pending'":
        problem = f"has the default {found.default}; a new meeting starts with 'pending'."
        _clash(plan, theirs, found, problem, "set default 'pending'")
    elif wanted.identity and not found.fills_itself:
        plan.clashes.append(_without_numbers(theirs, found))
    elif wanted.default is not None and not found.fills_itself:
        plan.tightened.append(altered(theirs.name, f"alter column {column} set default {wanted.default}"))


def _without_numbers(theirs: Table, found: Column) -> Clash:
    table, column = f"public.{theirs.name}", quoted(found.name)
    problem = f"{table}.{found.name} does not fill itself, and the worker does not fill it."
    if found.type == "uuid":
        return Clash(theirs.name, problem, altered(theirs.name, f"alter column {column} set default gen_random_uuid()"))
    remedy = (
        altered(theirs.name, f"alter column {column} set not null")
        + "\n    "
        + altered(theirs.name, f"alter column {column} add generated by default as identity")
        + f"\n    select setval(pg_get_serial_sequence({literal(table)}, {literal(found.name)}), "
        f"(select coalesce(max({column}), 0) + 1 from {table}), false);"
    )
    return Clash(theirs.name, problem, remedy)


def _plan_statuses(plan: Plan, theirs: Table) -> None:
    if "status" in theirs.columns:
        known = ", ".join(literal(status) for status in STATUSES)
        plan.checks.append(
            DataCheck(
                "select status::text, count(*) from public.meetings"
                f" where status is null or status::text not in ({known}) group by 1 order by 1",
                _unknown_status,
            )
        )
    plan.fills.append(
        Fill(
            "meetings",
            "update public.meetings set error_code = 'unknown', error_message = coalesce(error_message, "
            "'It failed before the worker knew of it. Retry it to transcribe it.') "
            "where status = 'failed' and error_code is null",
            "{num} failed meetings had no error_code: it is `unknown` now.",
        )
    )
    times = [name for name in ("updated_at", "created_at") if name in theirs.columns]
    plan.fills.append(
        Fill(
            "meetings",
            f"update public.meetings set completed_at = coalesce({', '.join([*times, 'clock_timestamp()'])}) "
            "where status = 'completed' and completed_at is null",
            f"{{num}} completed meetings had no completed_at: it is their {times[0]} now."
            if times
            else "{num} completed meetings had no completed_at: it is the time of this migration.",
        )
    )


def _unknown_status(value: str | None, num: int) -> Clash:
    condition = "is null" if value is None else f"= {literal(value)}"
    word = (value or "").strip().lower()
    meant = word if word in STATUSES else _MEANT.get(word, "cancelled")
    shown = "empty" if value is None else f"'{value}'"
    return Clash(
        "meetings",
        f"public.meetings.status is {shown} in {num} rows; the worker knows only {', '.join(STATUSES)}. "
        f"Choose one of them ('{meant}' is a guess):",
        f"update public.meetings set status = {literal(meant)} where status {condition};",
        order=4,
    )


def _clash(plan: Plan, theirs: Table, column: Column, problem: str, action: str) -> None:
    plan.clashes.append(
        Clash(
            theirs.name,
            f"public.{theirs.name}.{column.name} {problem}",
            altered(theirs.name, f"alter column {quoted(column.name)} {action}"),
        )
    )
