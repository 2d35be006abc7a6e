"""
What it takes to make tables that were there before the worker into the worker's: pure, from two descriptions.

Nothing that people or their programs put there is changed or removed: missing columns, values where ours may not be
empty, and constraints are added. Where that cannot work, a `Clash` says so, with the SQL that an administrator may run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from worker.adapters.adopt_catalog import Constraint, Table

ASKED_FOR: Mapping[str, frozenset[str]] = {
    "meetings": frozenset(
        {"id", "user_id", "title", "audio_path", "audio_url", "language", "prompt", "hotwords", "priority"}
        | {"min_speakers", "max_speakers"}
    ),
    "speakers": frozenset({"name", "user_id"}),
}
"""What people write; every other column of ours is written by the worker."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def named(names: Mapping[str, object] | list[str] | tuple[str, ...]) -> str:
    return ", ".join(quoted(name) for name in names)


def altered(table: str, *actions: str) -> str:
    return f"alter table public.{table} {', '.join(actions)};"


def written_by_worker(table: str, column: str) -> bool:
    return column not in ASKED_FOR.get(table, frozenset())


@dataclass(frozen=True)
class Clash:
    """Why a table cannot be adopted as it is, and the SQL that mends it."""

    table: str
    problem: str
    remedy: str
    order: int = 5
    """Remedies are run in this order: what forbids the next one is removed first."""
    is_renaming: bool = False
    """The whole table makes way, so that nothing else about it matters."""


@dataclass(frozen=True)
class DataCheck:
    """A look at the rows: each row that the query returns is a clash."""

    query: str
    clash: Callable[..., Clash]


@dataclass(frozen=True)
class Fill:
    """Values for columns of ours that may not be empty. `note` is said, with `{num}`, if there were any."""

    table: str
    statement: str
    note: str


@dataclass
class Plan:
    """Run in this order: `added`, `fills`, `tightened`, then 0001, then `linked`."""

    clashes: list[Clash] = field(default_factory=list)
    checks: list[DataCheck] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    tightened: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    new_columns: dict[str, list[str]] = field(default_factory=dict)
    misfits: set[tuple[str, str]] = field(default_factory=set)
    """(table, column) whose type clashes: their values cannot be looked at as ours."""

    def fits(self, table: str, *columns: str) -> bool:
        return not any((table, column) in self.misfits for column in columns)


def renamed(table: str, problem: str, kind: str = "table") -> Clash:
    """The way out that always works: the worker makes a table of its own, and the old one stays as it is."""
    return Clash(
        table,
        f"{problem} Keep the old {kind} under another name; the worker then makes one of its own.",
        f"alter {kind} public.{table} rename to {table}_old;",
        order=9,
        is_renaming=True,
    )


def can_be_adopted(plan: Plan, theirs: Table, role: str) -> bool:
    """Whether it is a table at all, and ours to change; else the plan has the clash."""
    name = theirs.name
    if theirs.kind != "r":
        kind = {"v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}.get(theirs.kind, "table")
        what = "a partitioned table" if theirs.kind == "p" else f"a {kind}"
        plan.clashes.append(renamed(name, f"public.{name} is {what}, and the worker needs a plain table.", kind))
    elif not theirs.is_ours:
        plan.clashes.append(
            Clash(
                name,
                f"public.{name} belongs to the role {theirs.owner}, and {role}, which migrates, may not change it. "
                f"Run this as {theirs.owner} or as an administrator of the database:",
                altered(name, f"owner to {quoted(role)}"),
                is_renaming=True,
            )
        )
    elif theirs.is_owner_bound:
        plan.clashes.append(
            Clash(
                name,
                f"Row level security is forced on public.{name}: it would hide rows from the worker's functions too.",
                altered(name, "no force row level security"),
                is_renaming=True,
            )
        )
    else:
        return True
    return False


def settled(clashes: list[Clash]) -> list[Clash]:
    """In the order in which the remedies work; where a table makes way, that alone, and each remedy once."""
    making_way = {clash.table for clash in clashes if clash.is_renaming}
    kept = [clash for clash in clashes if clash.is_renaming or clash.table not in making_way]
    seen: set[str] = set()
    result = []
    for clash in sorted(kept, key=lambda clash: clash.order):
        is_new = clash.remedy not in seen
        seen.add(clash.remedy)
        result.append(clash if is_new else Clash(clash.table, clash.problem, "", clash.order, clash.is_renaming))
    return result


# --- what is theirs and stays ------------------------------------------------------------------------------------


def judge_triggers(plan: Plan, theirs: Table, our_triggers: frozenset[tuple[str, str]]) -> None:
    for trigger in theirs.triggers:
        if (theirs.name, trigger.name) in our_triggers:
            plan.clashes.append(
                Clash(
                    theirs.name,
                    f"public.{theirs.name} has a trigger {trigger.name}, which is a name of the worker's.",
                    f"alter trigger {quoted(trigger.name)} on public.{theirs.name} "
                    f"rename to {quoted(trigger.name + '_old')};",
                )
            )
        if trigger.names_status and theirs.name == "meetings":
            plan.notes.append(
                f"The trigger {trigger.name} on public.meetings stays. Its function {trigger.function} mentions a "
                "status: see that it leaves the column `status` to the worker."
            )
    others = [t.name for t in theirs.triggers if t.is_on_update and not (t.names_status and theirs.name == "meetings")]
    if others:
        plan.notes.append(
            f"These triggers on public.{theirs.name} stay, and run whenever the worker changes a row "
            f"(stage and progress change often): {', '.join(others)}."
        )


def judge_policies(plan: Plan, theirs: Table, our_policies: frozenset[tuple[str, str]]) -> None:
    name = theirs.name
    for policy in theirs.policies:
        if (name, policy) in our_policies:
            plan.clashes.append(
                Clash(
                    name,
                    f"public.{name} has a policy {policy}, which is a name of the worker's.",
                    f"alter policy {quoted(policy)} on public.{name} rename to {quoted(policy + '_old')};",
                )
            )
    if theirs.policies:
        plan.notes.append(
            f"These policies on public.{name} stay, and may let people see or change more than the worker's own "
            f"rules do: {', '.join(theirs.policies)}."
        )
    if not theirs.is_row_secured:
        plan.notes.append(
            f"Row level security was off on public.{name} and is on now: signed-in users reach their own rows only, "
            "and nobody anything without signing in."
        )


def unique_keys(table: Table) -> list[Constraint]:
    return [found for found in table.constraints if found.kind in "pui"]
