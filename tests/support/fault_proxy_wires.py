"""Where a request and its answer end, in HTTP/1.1 and in Postgres' protocol, for FaultProxy."""

from __future__ import annotations

import re
from typing import Protocol

import h11


class Wire(Protocol):
    def is_request_complete(self, request: bytes) -> bool: ...

    def is_answer_complete(self, request: bytes, answer: bytes) -> bool:
        """Whether the server has done all that it was asked for, and said so."""
        ...

    def middle(self, answer: bytes) -> int:
        """Where to cut an answer in two: what it says, not what it is announced with."""
        ...


class HttpWire:
    def is_request_complete(self, request: bytes) -> bool:
        return _is_at_end(h11.Connection(h11.SERVER), request)

    def is_answer_complete(self, request: bytes, answer: bytes) -> bool:
        client = h11.Connection(h11.CLIENT)
        method = re.match(rb"[A-Z]+", request)
        assert method is not None, request[:80]
        client.send(h11.Request(method=method[0], target="/", headers=[("Host", "x")]))
        client.send(h11.EndOfMessage())
        return _is_at_end(client, answer)

    def middle(self, answer: bytes) -> int:
        begin = answer.index(b"\r\n\r\n") + 4
        return (begin + len(answer)) // 2


def _is_at_end(connection: h11.Connection, data: bytes) -> bool:
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            return True
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return False


class PostgresWire:
    """Source: PostgreSQL documentation, "Message Formats": a letter, four bytes of length that count themselves."""

    def is_request_complete(self, request: bytes) -> bool:
        """Whatever comes behind the statement's text is its parameters."""
        return True

    def is_answer_complete(self, request: bytes, answer: bytes) -> bool:
        """ReadyForQuery: the transaction is over."""
        at = 0
        while at + 5 <= len(answer):
            end = at + 1 + int.from_bytes(answer[at + 1 : at + 5])
            if answer[at : at + 1] == b"Z" and end <= len(answer):
                return True
            at = end
        return False

    def middle(self, answer: bytes) -> int:
        return len(answer) // 2
