"""
The inside of a child process: `python -m worker.adapters.child_server NAME CHANNEL_FD PARENT_PID`.

Constructs objects when they are first called, keeps them warm, and works one call at a time. What libraries print goes
to a pipe that the supervisor drains; the channel is a socket of its own, so printing cannot break the protocol.
NAME is only there for people who read `ps`; the specs of the objects come over the channel, because everybody on the
PC can read a command line and a spec may hold a token.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import inspect
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from worker.adapters.child_channel import (
    HEADER,
    Answer,
    AnswerKind,
    Call,
    ErrorReport,
    ObjectSpec,
    Welcome,
    checked_length,
    encode_frame,
)
from worker.disk_errors import disk_error
from worker.exceptions import EngineError, ModelUnavailableError, OutOfMemoryError, PCWorkerException

PR_SET_PDEATHSIG = 1  # linux/prctl.h
OOM_SCORE_ADJ = 500  # out of 1000: the kernel ends this process long before the supervisor or a desktop
PROGRESS_INTERVAL_S = 0.1
MAX_STACK_FRAMES = 8
MAX_PROBLEM_CHARS = 500


class Channel:
    """The child's end: blocking, and safe to write from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._stream = sock.makefile("rb")
        self._sock = sock
        self._lock = threading.Lock()
        self.call_id = 0

    def receive(self) -> bytes | None:
        """The next message; None when the supervisor has closed its end."""
        header = self._stream.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        length = checked_length(HEADER.unpack(header)[0])
        body = self._stream.read(length)
        return body if len(body) == length else None

    def begin(self, call_id: int) -> None:
        with self._lock:
            self.call_id = call_id

    def send(self, answer: Answer, *, last: bool = False) -> None:
        """Late news of an ended call (a straggling thread's progress, say) are dropped."""
        frame = encode_frame(answer)
        with self._lock:
            if answer.id != self.call_id:
                return
            self._sock.sendall(frame)
            if last:
                self.call_id = 0


class Reporter:
    """`Report` for engines: at most ten events a second leave the process, and nothing here ever fails."""

    def __init__(self, channel: Channel, call_id: int) -> None:
        self._channel = channel
        self._call_id = call_id
        self._next_at = -math.inf

    def __call__(self, progress: float) -> None:
        now = time.monotonic()
        if now < self._next_at or not math.isfinite(progress):
            return
        self._next_at = now + PROGRESS_INTERVAL_S
        value = min(1.0, max(0.0, float(progress)))
        try:
            self._channel.send(Answer(id=self._call_id, kind=AnswerKind.PROGRESS, value=value))
        except OSError:
            os._exit(1)  # the supervisor has hung up: nobody waits for this work


class ChannelHandler(logging.Handler):
    """
    Hands the log records of our own code to the supervisor, who has the log files.

    Only the logger `worker` gets it: our code never logs what was said in a meeting; a library might.
    """

    _standard = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        extra = {key: value for key, value in vars(record).items() if key not in self._standard}
        value = {"logger": record.name, "level": record.levelno, "message": record.getMessage()}
        value["extra"] = to_jsonable_python(extra, fallback=str)
        try:
            self._channel.send(Answer(id=self._channel.call_id, kind=AnswerKind.LOG, value=value))
        except OSError:
            os._exit(1)


class Objects:
    """What the specs describe, constructed at first use."""

    def __init__(self, specs: Mapping[str, ObjectSpec]) -> None:
        self._specs = specs
        self._warm: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        if name not in self._warm:
            self._warm[name] = construct(self._specs[name])
        return self._warm[name]


def construct(spec: ObjectSpec) -> Any:
    module_name, _, class_name = spec.factory.partition(":")
    factory = getattr(importlib.import_module(module_name), class_name)
    return factory(**coerce(factory.__init__ if inspect.isclass(factory) else factory, spec.kwargs))


def coerce(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON made of the arguments, turned back into what the function's annotations say: paths, models, tuples."""
    hints = get_type_hints(function)
    return {name: adapter(hints.get(name, Any)).validate_python(value) for name, value in arguments.items()}


def adapter(hint: Any) -> TypeAdapter[Any]:
    is_model = inspect.isclass(hint) and hasattr(hint, "model_config")
    return TypeAdapter(hint, config=None if is_model else ConfigDict(arbitrary_types_allowed=True))


def work(channel: Channel, objects: Objects, call: Call) -> Answer:
    """One call from beginning to end. Whatever goes wrong becomes an answer."""
    try:
        target = objects.get(call.object)
    except BaseException as error:  # noqa: BLE001 - as below
        return Answer(id=call.id, kind=AnswerKind.ERROR, value=report_of_loading(error))
    try:
        method = getattr(target, call.method)
        arguments = coerce(method, call.arguments)
        if "report" in inspect.signature(method).parameters:
            arguments["report"] = Reporter(channel, call.id)
        channel.send(Answer(id=call.id, kind=AnswerKind.WORKING))
        return Answer(id=call.id, kind=AnswerKind.RESULT, value=method(**arguments))
    except BaseException as error:  # noqa: BLE001 - libraries raise SystemExit too; every end must reach the supervisor
        return Answer(id=call.id, kind=AnswerKind.ERROR, value=report_of(error))


def report_of(error: BaseException) -> ErrorReport:
    """Our own errors travel by their code; foreign ones are mapped, and leave a process that is not to be trusted."""
    if isinstance(error, PCWorkerException):
        details = dict(error.details)
        replace = bool(details.pop("replace_child", False))
        details = to_jsonable_python(details, fallback=str)
        return ErrorReport(code=error.code, message=str(error), details=details, replace_child=replace)
    details = {"type": type(error).__qualname__, "problem": problem_of(error), "stack": stack_of(error)}
    if (of_disk := disk_error(error)) is not None:
        return ErrorReport(code=of_disk.code, details=details)
    if isinstance(error, MemoryError):
        return ErrorReport(code=OutOfMemoryError.code, details=details, replace_child=True)
    return ErrorReport(code=PCWorkerException.code, details=details, replace_child=True)


def report_of_loading(error: BaseException) -> ErrorReport:
    """What cannot be constructed is this PC's problem, not the recording's."""
    report = report_of(error)
    if isinstance(error, PCWorkerException) or disk_error(error) is not None:
        return report
    return report.model_copy(update={"code": ModelUnavailableError.code, "message": None})


def problem_of(error: BaseException) -> str:
    if isinstance(error, ValidationError):  # its text would quote the values, which may be what people said
        return str(error.errors(include_input=False, include_url=False, include_context=False))[:MAX_PROBLEM_CHARS]
    return str(error)[:MAX_PROBLEM_CHARS]


def stack_of(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-MAX_STACK_FRAMES:]
    return [f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} in {frame.name}" for frame in frames]


def die_with_parent(parent_pid: int) -> None:
    """
    The kernel kills this process when the thread that started it ends (prctl(2)).

    A parent that died before the call is noticed by comparing, not by looking for pid 1: in a container the
    supervisor may be pid 1 itself, and orphans may go to a subreaper.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def settle_in() -> None:
    """Signals as a fresh process has them, but Ctrl-C is the supervisor's alone; first in line when memory runs out."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    with suppress(OSError):  # a hardened container may forbid it; then the kernel chooses by size alone
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ))


def serve(channel: Channel) -> None:
    """Until the supervisor hangs up."""
    welcome = channel.receive()
    if welcome is None:
        return
    objects = Objects(Welcome.model_validate_json(welcome).objects)
    channel.send(Answer(id=0, kind=AnswerKind.READY))
    while (message := channel.receive()) is not None:
        call = Call.model_validate_json(message)
        channel.begin(call.id)
        answer = work(channel, objects, call)
        try:
            channel.send(answer, last=True)
        except ValueError as error:  # not JSON, or too long
            unsayable = report_of(error).model_copy(update={"code": EngineError.code, "message": None})
            channel.send(Answer(id=call.id, kind=AnswerKind.ERROR, value=unsayable), last=True)


def main(arguments: list[str]) -> None:
    _name, channel_fd, parent_pid = arguments
    die_with_parent(int(parent_pid))
    settle_in()
    os.set_inheritable(int(channel_fd), False)
    channel = Channel(socket.socket(fileno=int(channel_fd)))
    logger = logging.getLogger("worker")
    logger.addHandler(ChannelHandler(channel))
    logger.setLevel(logging.DEBUG)
    try:
        serve(channel)
    except OSError:
        os._exit(1)  # the supervisor is gone, and with it everybody who could be told
    sys.stdout.flush()
    os._exit(0)  # at once: nothing in here outlives its process, and libraries take seconds to say goodbye


if __name__ == "__main__":
    main(sys.argv[1:])
