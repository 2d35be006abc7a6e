"""
What the supervisor and its children say to each other: JSON messages in frames, over a socket pair of their own.

A frame is a length (4 bytes, big-endian) and that many bytes of JSON. The child is first told what it may construct
(`Welcome`) and answers `ready`; then calls come one at a time, and each is answered by

    working      the object is there and its method begins (until then nothing that goes wrong is the recording's fault)
    progress     any number of times: the finished part, in [0, 1]
    log          any number of times: a log record of our own code
    result | error   exactly one of them, last
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field

from worker.models import Value

MAX_FRAME_BYTES = 64 * 2**20
"""The words of a 12-hour meeting are about 15 MB of JSON; whatever is four times longer is not a message of ours."""

HEADER = struct.Struct(">I")


class FrameError(ValueError):
    """What came over the channel is not a message, or too long for one."""


class ObjectSpec(Value):
    """What a child constructs at first use and then keeps."""

    factory: str = Field(pattern=r"^[\w.]+:\w+$", description="package.module:Class")
    kwargs: dict[str, Any] = Field(default_factory=dict, repr=False, description="may hold a key")


class Welcome(Value):
    objects: dict[str, ObjectSpec]


class Call(Value):
    id: int
    object: str
    method: str
    arguments: dict[str, Any]


class AnswerKind(StrEnum):
    READY = "ready"
    WORKING = "working"
    PROGRESS = "progress"
    LOG = "log"
    RESULT = "result"
    ERROR = "error"


class Answer(Value):
    id: int = Field(description="of the call; 0 for what belongs to none")
    kind: AnswerKind
    value: Any = None


class ErrorReport(Value):
    """An exception on its way to the other process. `details` are for administrators only."""

    code: str
    message: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    replace_child: bool = Field(default=False, description="the process is not to be trusted any more")


def encode_frame(message: BaseModel) -> bytes:
    """Raises FrameError when the message is longer than MAX_FRAME_BYTES."""
    body = message.model_dump_json().encode()
    return HEADER.pack(checked_length(len(body))) + body


def checked_length(length: int) -> int:
    if not 0 < length <= MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return length
