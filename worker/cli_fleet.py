"""Commands that take a worker out of service and back, from any PC of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli_shared import console, refuse, with_store

if TYPE_CHECKING:
    from worker.models import FleetStatus, WorkerState
    from worker.ports import Store

WorkerId = Annotated[str, typer.Argument(help="WORKER_ID, as `status` shows it.")]


def drain(worker_id: WorkerId) -> None:
    """Let a worker finish what it has and take no more meetings, until `resume`; it may run on any PC."""
    worker = _tell(worker_id, draining=True)
    num_left = len(worker.meetings)
    if not worker.alive:
        rest = "It is not running now; when it starts it takes no meetings."
    elif num_left:
        rest = f"It finishes the {num_left} it has; `python -m worker status` shows how far they are."
    else:
        rest = "It has none now."
    console(stderr=True).print(f"{worker_id} takes no more meetings. {rest}")


def resume(worker_id: WorkerId) -> None:
    """Let a worker take meetings again after `drain`; it may run on any PC."""
    worker = _tell(worker_id, draining=False)
    rest = "" if worker.alive else " It is not running now."
    console(stderr=True).print(f"{worker_id} takes meetings again.{rest}")


def _tell(worker_id: str, *, draining: bool) -> WorkerState:
    """The worker, told; ends the command when there is no such worker."""

    async def work(_: object, store: Store) -> tuple[str | None, FleetStatus]:
        answer = await store.drain(worker_id, draining=draining)
        return (answer.message if answer.outcome == "gone" else None), await store.status()

    refusal, fleet = with_store(work, with_any_key=True)
    known = {worker.worker_id: worker for worker in fleet.workers}
    if refusal is not None:
        refuse(f"{refusal} Known workers: {', '.join(known) or 'none'}.")
    return known[worker_id]
