"""What a worker says about itself, and what it hears about the queue. Holds for every store."""

from __future__ import annotations

from tests.support.queue_worlds import QueueWorld, worker_info
from worker.models import Trouble, WorkerState

FULL = Trouble(code="disk_full", sentence="The disk is full. Make room.")
TAKEN = Trouble(code="gpu_taken", sentence="The GPU is in use. Stop the other worker.")


async def only_worker(world: QueueWorld) -> WorkerState:
    (worker,) = (await world.store.status()).workers
    return worker


async def test_everybody_sees_what_keeps_a_worker_from_its_work(world: QueueWorld) -> None:
    """In the order in which it began, and no longer than until the next heartbeat says otherwise."""
    w1 = await world.worker("w1")
    assert (await only_worker(world)).troubles == ()
    await world.store.heartbeat(w1.worker_id, w1.instance_id, [], [TAKEN, FULL])
    assert (await only_worker(world)).troubles == (TAKEN, FULL)
    await world.store.heartbeat(w1.worker_id, w1.instance_id, [], [FULL])
    assert (await only_worker(world)).troubles == (FULL,)
    await world.store.heartbeat(w1.worker_id, w1.instance_id, [])
    assert (await only_worker(world)).troubles == ()


async def test_a_superseded_instance_cannot_speak_for_the_worker(world: QueueWorld) -> None:
    """Its trouble is not that of the one that runs now."""
    before = await world.worker("w1")
    await world.worker("w1")
    answer = await world.store.heartbeat(before.worker_id, before.instance_id, [], [FULL])
    assert not answer.registered
    assert (await only_worker(world)).troubles == ()


async def test_a_trouble_of_one_worker_is_not_that_of_another(world: QueueWorld) -> None:
    """The row is found by WORKER_ID."""
    w1, _ = await world.worker("w1"), await world.worker("w2", host="pc-2")
    await world.store.heartbeat(w1.worker_id, w1.instance_id, [], [FULL])
    found = {worker.worker_id: worker.troubles for worker in (await world.store.status()).workers}
    assert found == {"w1": (FULL,), "w2": ()}


async def test_a_sentence_with_characters_that_postgres_cannot_hold_is_stored(world: QueueWorld) -> None:
    """A library may have put them there; that must not cost the heartbeat."""
    w1 = await world.worker("w1")
    await world.store.heartbeat(
        w1.worker_id, w1.instance_id, [], [Trouble(code="odd", sentence="größer\x00 \U0001f600")]
    )
    assert (await only_worker(world)).troubles[0].sentence.replace("\x00", "") == "größer \U0001f600"


async def test_a_heartbeat_tells_how_long_the_queue_is_and_how_long_the_oldest_has_waited(world: QueueWorld) -> None:
    """So that a worker can say that the queue ages, without another call."""
    w1 = await world.worker("w1")
    answer = await world.store.heartbeat(w1.worker_id, w1.instance_id, [])
    assert (answer.num_pending, answer.oldest_pending_s) == (0, None)
    await world.enqueue("first")
    world.advance(7)
    await world.enqueue("second")
    world.advance(3)
    answer = await world.store.heartbeat(w1.worker_id, w1.instance_id, [])
    assert (answer.num_pending, answer.oldest_pending_s) == (2, 10)
    await world.claim(w1)
    answer = await world.store.heartbeat(w1.worker_id, w1.instance_id, [])
    assert (answer.num_pending, answer.oldest_pending_s) == (1, 3)


async def test_status_shows_the_gpu_and_its_driver(world: QueueWorld) -> None:
    """And nothing for a PC without one."""
    await world.store.register(worker_info("w1", gpu="NVIDIA X", gpu_uuid="GPU-1", driver="570.1", vram_bytes=2**34))
    await world.store.register(worker_info("w2", host="pc-2"))
    found = [(worker.gpu, worker.driver) for worker in (await world.store.status()).workers]
    assert found == [("NVIDIA X", "570.1"), (None, None)]


async def test_status_goes_on_showing_what_it_showed_before(world: QueueWorld) -> None:
    """Who is drained, and who is alive."""
    await world.worker("w1")
    await world.store.drain("w1", draining=True)
    worker = await only_worker(world)
    assert (worker.draining, worker.alive, worker.version) == (True, True, "0.1")
