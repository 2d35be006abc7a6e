"""
A gateway that also signs users in and lets them subscribe, as far as the README's examples need it.

Only the shapes of Auth and Realtime are here: a password is not checked, and a subscription to one meeting is told at
once that it is being processed and then completed. Sources: supabase_auth and realtime (the Python clients) and
supabase-js, for what they send and expect.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from aiohttp import WSMsgType, web

from tests.support import project_keys
from tests.support.gateway import Gateway

MOMENT = "2026-05-03T12:00:00Z"


class ProjectGateway(Gateway):
    """Everybody who signs in is the user `user_id`. `joins` are the messages with which channels were joined."""

    def __init__(self, rest_url: str, storage_url: str, user_id: UUID) -> None:
        super().__init__(rest_url, storage_url)
        self.user_id = user_id
        self.joins: list[dict[str, Any]] = []

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/auth/v1/token":
            return web.json_response(session(self.user_id))
        if request.path == "/realtime/v1/websocket":
            return await self._realtime(request)
        return await super()._pass_on(request)

    async def _realtime(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            sent = read(message.data)
            if sent["event"] == "phx_join":
                await self._join(socket, sent)
            elif sent["event"] in ("heartbeat", "phx_leave"):
                await socket.send_str(written(reply(sent, {}), sent))
        return socket

    async def _join(self, socket: web.WebSocketResponse, sent: dict[str, Any]) -> None:
        self.joins.append(sent)
        wanted = sent["payload"]["config"]["postgres_changes"]
        accepted = [{**one, "id": number} for number, one in enumerate(wanted, 1)]
        await socket.send_str(written(reply(sent, {"postgres_changes": accepted}), sent))
        for one in accepted:
            for status in ("processing", "completed"):
                await socket.send_str(written(change(sent["topic"], one, status), sent))


def session(user_id: UUID) -> dict[str, Any]:
    """What Auth answers to a password."""
    user = {
        "id": str(user_id),
        "aud": "authenticated",
        "role": "authenticated",
        "email": "ada@example.org",
        "app_metadata": {},
        "user_metadata": {},
        "created_at": MOMENT,
    }
    token = project_keys.user_token(user_id)
    return {"access_token": token, "token_type": "bearer", "expires_in": 3600, "refresh_token": "r", "user": user}


def read(text: str) -> dict[str, Any]:
    """A message: an object in version 1 of the protocol, a list in version 2."""
    message = json.loads(text)
    if isinstance(message, list):
        return {**dict(zip(("join_ref", "ref", "topic", "event", "payload"), message, strict=True)), "is_list": True}
    known: dict[str, Any] = message
    return known


def written(message: dict[str, Any], to: dict[str, Any]) -> str:
    """In the version in which the other side speaks."""
    if "is_list" in to:
        return json.dumps([message.get(key) for key in ("join_ref", "ref", "topic", "event", "payload")])
    return json.dumps(message)


def reply(sent: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    payload = {"status": "ok", "response": response}
    refs = {"ref": sent["ref"], "join_ref": sent.get("join_ref")}
    return {"topic": sent["topic"], "event": "phx_reply", "payload": payload, **refs}


def change(topic: str, wanted: dict[str, Any], status: str) -> dict[str, Any]:
    """An update of the meeting that the subscription is about."""
    stage, progress = ("transcribe", 0.5) if status == "processing" else (None, None)
    meeting_id = wanted.get("filter", "").removeprefix("id=eq.")
    columns = [{"name": name, "type": kind} for name, kind in COLUMNS.items()]
    data = {
        "schema": "public",
        "table": "meetings",
        "commit_timestamp": MOMENT,
        "type": "UPDATE",
        "errors": None,
        "columns": columns,
        "record": {"id": meeting_id, "status": status, "stage": stage, "progress": progress},
        "old_record": {"id": meeting_id},
    }
    payload = {"ids": [wanted["id"]], "data": data}
    return {"topic": topic, "event": "postgres_changes", "payload": payload, "ref": None}


COLUMNS = {"id": "uuid", "status": "text", "stage": "text", "progress": "float8"}
