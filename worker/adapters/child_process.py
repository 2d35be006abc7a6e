"""
A disposable process that computes, as the supervisor sees it.

One call at a time; started at the first one; kept warm; replaced after it died, was killed, asked for it, or has done
enough. Whoever stops waiting for a call ends its process: killing is the only way to stop a C extension, and it is safe
because a child holds nothing that must not be lost.

concurrent.futures cannot end one running call without breaking its pool; pebble can, but neither it, multiprocessing
nor anyio.to_process has progress that resets a stall limit, a process group, or a child that dies with its parent.
They also talk pickle, which a child that reads hostile files must not send to the process that holds the database key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from worker.adapters.child_channel import (
    Answer,
    AnswerKind,
    Call,
    ErrorReport,
    FrameError,
    ObjectSpec,
    Welcome,
    encode_frame,
)
from worker.adapters.child_life import ChildLife
from worker.adapters.child_usage import UsageMeter, VramOf
from worker.exceptions import (
    ChildCrashedError,
    ChildStalledError,
    EngineError,
    ModelUnavailableError,
    PCWorkerException,
    WorkerStoppedError,
    from_code,
)
from worker.models import StageUsage
from worker.ports import Report

__all__ = ["ChildProcess", "ObjectSpec"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

ASK = "Ask the administrator to look into the log of this PC."
IF_FAILED = "If the meeting ends as failed, ask the administrator to look into the log."
LAST_WORDS_S = 1.0  # how long a child that hung up may take to end by itself, so that its real exit status is known
CLOSE_GRACE_S = 2.0  # how long an idle child may take to leave when it is asked


class ChildProcess:
    """
    Calls methods of objects that live in a process of their own.

    Args:
        name: for logs and `ps`; also the kind of work: "prep", "engine", "summary".
        objects: what the child may construct, by the name that calls use.
        environment: the child's whole environment, PYTHONPATH apart.
        stall_s: the longest silence (no progress, no result) while a method runs; then the child is killed.
        load_s: the longest silence while the process starts and constructs its objects (loading models takes minutes).
        max_calls: after so many calls the process is replaced; None: never.
        max_rss_bytes: it is replaced after a call that left it bigger than this; None: never.
        is_swollen: likewise; asked with the process id and the method that was called, in a thread.
        vram_of: bytes of a GPU's memory that a process holds, for `usage`.
        ended: told of a process id whose call did not end well, and whether the process itself broke down (True), or
            was ended by us (False).

    The event loop must run in the main thread: a child dies with the thread that started it.
    """

    def __init__(
        self,
        *,
        name: str,
        objects: Mapping[str, ObjectSpec],
        environment: Mapping[str, str],
        stall_s: float,
        load_s: float = 900.0,
        max_calls: int | None = None,
        max_rss_bytes: int | None = None,
        is_swollen: Callable[[int, str], bool] | None = None,
        vram_of: VramOf | None = None,
        ended: Callable[[int, bool], None] | None = None,
    ) -> None:
        self.name = name
        self.objects = dict(objects)
        self._environment = dict(environment)
        self._stall_s = stall_s
        self._load_s = load_s
        self._max_calls = max_calls
        self._max_rss_bytes = max_rss_bytes
        self._is_swollen = is_swollen
        self._vram_of = vram_of
        self._ended = ended or (lambda _pid, _by_itself: None)
        self.usage = StageUsage()  # of the last call that was answered
        self._turn = asyncio.Lock()
        self._life: ChildLife | None = None
        self._num_calls = 0
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process that is there now; None when there is none."""
        return self._life.pid if self._life and self._life.is_alive else None

    async def call(
        self,
        object_method: str,
        arguments: Mapping[str, Any],
        returns: type[T],
        report: Report,
        *,
        stall_s: float | None = None,
    ) -> T:
        """
        Run `"object.method"` in the child and wait for what it returns. Callers are served in the order they came.

        Cancelling the caller kills the process while its call runs; before its turn it only leaves the queue.

        Raises:
            PCWorkerException and its children, as the method raised them.
            ChildCrashedError, ChildStalledError: the process died or was silent while the method ran.
            ModelUnavailableError: it died or was silent before that, so the recording is not to blame.
            WorkerStoppedError: `close` was called.
        """
        name, _, method = object_method.partition(".")
        if name not in self.objects:
            raise LookupError(f"child {self.name} has no object {name}")
        async with self._turn:
            life = await self._living()
            self._num_calls += 1
            call = Call(id=self._num_calls, object=name, method=method, arguments=dict(arguments))
            try:
                async with UsageMeter(life.pid, self._vram_of) as meter:
                    answer = await self._converse(life, call, report, stall_s or self._stall_s)
            except BaseException as error:
                await self._drop(life)
                self._ended(life.pid, isinstance(error, ChildCrashedError))
                raise
            self.usage = meter.usage
            outcome = outcome_of(answer, returns)
            if await self._worn_out(life, outcome, object_method):
                await self._part(life)
        if isinstance(outcome, ErrorReport):
            raise revived(outcome, self.name)
        return outcome

    async def close(self) -> None:
        """End the process; a call that runs raises WorkerStoppedError. May be called again."""
        self._closed = True
        if self._life and self._turn.locked():
            self._life.send_sigkill()  # its caller notices, and clears up
        async with self._turn:
            if self._life:
                await self._part(self._life)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- one life ------------------------------------------------------------------------------------------------

    async def _living(self) -> ChildLife:
        """The warm process, or a new one that has said `ready`."""
        if self._closed:
            raise WorkerStoppedError
        if self._life and self._life.is_alive:
            return self._life
        if self._life:
            logger.warning("child_died_idle", extra={"child": self.name, "ended": self._life.ending})
            await self._drop(self._life)
        return await self._start()

    async def _start(self) -> ChildLife:
        try:
            self._life = life = ChildLife(self.name, self._environment)
        except OSError as error:
            message = f"A process cannot be started on this PC. {ASK}"
            raise ModelUnavailableError(message, child=self.name, problem=str(error)) from error
        self._num_calls = 0
        try:
            await self._say(life, Welcome(objects=self.objects))
            await self._hear(life, 0, self._load_s)
        except BaseException:
            await self._drop(life)
            raise
        logger.debug("child_started", extra={"child": self.name, "pid": life.pid})
        return life

    async def _drop(self, life: ChildLife) -> None:
        """Kill the process and everything in its group."""
        if self._life is life:
            self._life = None
        await life.kill()

    async def _part(self, life: ChildLife) -> None:
        """Let an idle process go."""
        if self._life is life:
            self._life = None
        await life.leave(CLOSE_GRACE_S)

    async def _worn_out(self, life: ChildLife, outcome: object, object_method: str) -> bool:
        if isinstance(outcome, ErrorReport) and outcome.replace_child:
            return True
        if self._max_calls is not None and self._num_calls >= self._max_calls:
            return True
        if self._max_rss_bytes is not None and life.rss_bytes() > self._max_rss_bytes:
            return True
        return self._is_swollen is not None and await asyncio.to_thread(self._is_swollen, life.pid, object_method)

    # --- one call ------------------------------------------------------------------------------------------------

    async def _converse(self, life: ChildLife, call: Call, report: Report, stall_s: float) -> Answer:
        """Ask, and pass progress on until the one answer that ends the call."""
        await self._say(life, call)
        answer = await self._hear(life, call.id, self._load_s)
        working = answer.kind is AnswerKind.WORKING
        while answer.kind in (AnswerKind.WORKING, AnswerKind.PROGRESS):
            if answer.kind is AnswerKind.PROGRESS:
                report(answer.value)
            answer = await self._hear(life, call.id, stall_s, working=working)
        return answer

    async def _say(self, life: ChildLife, message: Welcome | Call) -> None:
        try:
            async with asyncio.timeout(self._load_s):
                await life.send(encode_frame(message))
        except TimeoutError:
            raise self._stalled(life, self._load_s, working=False) from None
        except OSError:
            raise await self._crashed(life, working=False) from None

    async def _hear(self, life: ChildLife, call_id: int, limit_s: float, *, working: bool = False) -> Answer:
        """The next answer to this call; log records on the way are logged."""
        try:
            while True:
                async with asyncio.timeout(limit_s):
                    answer = Answer.model_validate_json(await life.receive())
                if answer.id != call_id:
                    raise FrameError(f"an answer to call {answer.id} instead of {call_id}")
                if answer.kind is not AnswerKind.LOG:
                    return answer
                replay_log(answer.value)
        except TimeoutError:
            raise self._stalled(life, limit_s, working) from None
        except (EOFError, OSError):
            raise await self._crashed(life, working) from None
        except (FrameError, ValidationError, LookupError, TypeError):
            raise self._garbled(life) from None

    # --- its bad ends --------------------------------------------------------------------------------------------

    async def _crashed(self, life: ChildLife, working: bool) -> PCWorkerException:
        await life.wait_exit(LAST_WORDS_S)
        if self._closed:
            return WorkerStoppedError()
        ending = life.ending or "closed its connection"
        logger.warning("child_crashed", extra={"child": self.name, "pid": life.pid, "ended": ending})
        details = {"child": self.name, "output_tail": life.output_tail()}
        if not working:
            return ModelUnavailableError(f"A process {ending} before it could begin to work. {ASK}", **details)
        message = f"The process working on this recording {ending}. {IF_FAILED}"
        return ChildCrashedError(message, **details)

    def _stalled(self, life: ChildLife, limit_s: float, working: bool) -> PCWorkerException:
        logger.warning("child_stalled", extra={"child": self.name, "pid": life.pid, "silent_s": limit_s})
        error = ChildStalledError if working else ModelUnavailableError
        return error(child=self.name, silent_s=limit_s, output_tail=life.output_tail())

    def _garbled(self, life: ChildLife) -> PCWorkerException:
        logger.warning("child_garbled", extra={"child": self.name, "pid": life.pid})
        message = f"The process working on this recording sent something that is no answer. {IF_FAILED}"
        return ChildCrashedError(message, child=self.name, output_tail=life.output_tail())


def outcome_of(answer: Answer, returns: type[T]) -> T | ErrorReport:
    """What the method returned, as the type it should be, or why there is no such thing."""
    try:
        if answer.kind is AnswerKind.RESULT:
            return TypeAdapter(returns).validate_python(answer.value)
        return ErrorReport.model_validate(answer.value)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)
        details = {"type": type(error).__name__, "problem": str(problem)}
        return ErrorReport(code=EngineError.code, details=details, replace_child=True)


def revived(failure: ErrorReport, child: str) -> PCWorkerException:
    error = from_code(failure.code, failure.message)
    error.details.update(failure.details, child=child)
    return error


def replay_log(value: dict[str, Any]) -> None:
    """Log a child's record here, where the log files are and the meeting is known."""
    logging.getLogger(value["logger"]).log(value["level"], "%s", value["message"], extra=value["extra"])
