"""Values that a JSON column of theirs may hold and that everybody who reads it as ours would stumble over."""
# ruff: noqa: S608 - every name in these statements is quoted, or is one of ours

from __future__ import annotations

from collections.abc import Mapping

from worker.adapters.adopt_catalog import Table
from worker.adapters.adopt_plan import Clash, DataCheck, Plan, altered, quoted

_ITEM = ("object", "item ? 'text'")
_LISTS = ("key_points", "decisions", "action_items", "open_questions", "topics")

_ITEMS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("meetings", "warnings"): ("object", "item ?& '{code,message}'"),
    ("transcript_segments", "words"): ("array", "jsonb_array_length(item) = 4"),
    **{("meeting_summaries", name): _ITEM for name in _LISTS},
}
"""What each item of a list must be: its type, and what then must be true of it."""


def plan_values(plan: Plan, theirs: Table) -> None:
    for (table, column), (kind, rule) in _ITEMS.items():
        # `case`, because `and` may try its second half first
        fits = f"case when jsonb_typeof(item) = '{kind}' then {rule} else false end"
        misfits = f"select from jsonb_array_elements({quoted(column)}) as item where not {fits}"
        is_ours = f"case when jsonb_typeof({quoted(column)}) = 'array' then not exists ({misfits}) else false end"
        _check(plan, theirs, table, column, is_ours)
    _check(plan, theirs, "meetings", "result", "jsonb_typeof(result) in ('object', 'null')")


def _check(plan: Plan, theirs: Table, table: str, column: str, is_ours: str) -> None:
    if theirs.name != table or column not in theirs.columns or not plan.fits(table, column):
        return
    plan.checks.append(
        DataCheck(
            f"select count(*) from public.{table} where {quoted(column)} is not null and not {is_ours}"
            " having count(*) > 0",
            lambda num: Clash(
                table,
                f"public.{table}.{column} holds something else than the worker's {column} in {num} rows. Keep it under "
                "another name; the worker then adds its own.",
                altered(table, f"rename column {quoted(column)} to {quoted(column + '_old')}"),
                order=2,
            ),
        )
    )
