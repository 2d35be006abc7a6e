"""
A language model's endpoint on 127.0.0.1 that does as it is told: the double of a remote service.

Each request gets the next reply of the script, the last one again and again. It runs in threads, so that synchronous
code can ask it.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.web_server import certificate

Question = dict[str, Any]
Reply = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request, and the ways of answering it."""

    protocol_version = "HTTP/1.1"
    server: _Server
    question: Question

    def do_POST(self) -> None:
        self.question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        llm = self.server.llm
        with llm.lock:
            number = len(llm.questions)
            llm.questions.append(self.question)
            llm.headers.append({name.lower(): value for name, value in self.headers.items()})
            llm.paths.append(self.path)
        llm.script[min(number, len(llm.script) - 1)](self)

    def do_GET(self) -> None:
        with self.server.llm.lock:
            self.server.llm.paths.append(self.path)
        self.server.llm.script[0](self)

    def send(self, status: int, body: bytes, *, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    llm: ScriptedLlm

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up; that is part of the tests."""


class ScriptedLlm:
    """Within `with`. `questions`, `headers` and `paths` are of the requests so far; a GET gets the first reply."""

    def __init__(self, *script: Reply, certificate_in: Path | None = None) -> None:
        self.script: Sequence[Reply] = script
        self.questions: list[Question] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self._certificate_in = certificate_in

    def __enter__(self) -> ScriptedLlm:
        self._server = _Server(("127.0.0.1", 0), Exchange)
        self._server.llm = self
        scheme = "http"
        if self._certificate_in:
            scheme = "https"
            self._server.socket = _with_own_certificate(self._certificate_in).wrap_socket(
                self._server.socket, server_side=True
            )
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _with_own_certificate(folder: Path) -> ssl.SSLContext:
    key, chain = folder / "llm.key", folder / "llm.pem"
    key.write_bytes(certificate()[0])
    chain.write_bytes(certificate()[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


# --- what it may reply -------------------------------------------------------------------------------------------


def completion(content: str | None, *, finish: str = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return json.dumps({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}).encode()


def says(content: str | dict[str, Any] | None, *, finish: str = "stop", **message: Any) -> Reply:
    text = json.dumps(content) if isinstance(content, dict) else content
    return lambda exchange: exchange.send(200, completion(text, finish=finish, **message))


def thinks(model: Callable[[Question], dict[str, Any]]) -> Reply:
    """A model that makes its answer of the question."""
    return lambda exchange: exchange.send(200, completion(json.dumps(model(exchange.question))))


def status(code: int, body: str = '{"error":{"message":"no"}}', **headers: str) -> Reply:
    return lambda exchange: exchange.send(code, body.encode(), **headers)


def sends(body: str, *, kind: str = "application/json") -> Reply:
    return lambda exchange: exchange.send(200, body.encode(), kind=kind)


def hangs(exchange: Exchange) -> None:
    """Answers nothing until the test is over."""
    exchange.server.llm.over.wait(60)
    exchange.close_connection = True


def drips(exchange: Exchange) -> None:
    """A byte at a time, without end."""
    exchange.send_response(200)
    exchange.send_header("content-length", "100000")
    exchange.end_headers()
    while not exchange.server.llm.over.wait(0.02):
        exchange.wfile.write(b" ")
        exchange.wfile.flush()


def hangs_up(exchange: Exchange) -> None:
    """Before a word."""
    exchange.close_connection = True
    exchange.connection.close()


def breaks_off(exchange: Exchange) -> None:
    """In the middle of the answer."""
    exchange.send_response(200)
    exchange.send_header("content-length", "1000")
    exchange.end_headers()
    exchange.wfile.write(b'{"choices":')
    exchange.close_connection = True


def floods(exchange: Exchange) -> None:
    """More bytes than an answer has, though it is one."""
    exchange.send(200, completion("{}") + b" " * (5 * 2**20))


def has(*names: str) -> Reply:
    """The list of its models."""
    models = [{"id": name, "object": "model"} for name in names]
    return lambda exchange: exchange.send(200, json.dumps({"object": "list", "data": models}).encode())


# --- what it was asked -------------------------------------------------------------------------------------------


def data_lines(question: Question) -> list[dict[str, Any]]:
    """The JSON lines between the marks of the user's message."""
    lines = question["messages"][1]["content"].split("\n")
    assert lines[-1] == f"</{lines[0][1:]}"
    return [json.loads(line) for line in lines[1:-1]]


def statement(segment: int, quote: str, text: str, **more: str | None) -> dict[str, Any]:
    return {"segments": [segment], "quote": quote, "text": text, **more}


def minutes(**lists: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("overview", "key_points", "decisions", "action_items", "open_questions", "topics")
    return {name: lists.get(name, []) for name in names}


def honest(question: Question) -> dict[str, Any]:
    """Quotes the first line it is given; of statements it repeats the first of each list."""
    lines = data_lines(question)
    if "list" in lines[0]:
        first = {line.pop("list"): line for line in reversed(lines)}
        return minutes(**{name: [line] for name, line in first.items()})
    first_line = lines[0]
    said = statement(first_line["i"], " ".join(first_line["text"].split()[:5]), f"Part {first_line['i']} begins.")
    return minutes(overview=[said], key_points=[said])
