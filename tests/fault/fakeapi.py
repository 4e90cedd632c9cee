"""A scripted API server: enough of get, list, server-side apply and delete to break them on purpose.

What server-side apply really does is tested on the real cluster; here an apply replaces what it names.
"""

import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from triton_vllm_operator.kube.client import KubeClient
from triton_vllm_operator.kube.resources import NODE, RESOURCE_SLICE, WATCHED, Kind

Body = dict[str, Any]
Fault = Callable[[str, str], web.Response | None]
"""Given method and path: the answer that is given instead of the real one."""


class FakeApi:
    """Objects in memory, and what was asked of them."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Kind, str, str], Body] = {}
        self.writes: list[str] = []
        self.events: list[tuple[str, Kind, Body]] = []
        self.told: list[str] = []
        """Reasons of the Events that were created."""
        self.fault: Fault = lambda _method, _path: None
        self.rewrite: Callable[[Body], None] = lambda _body: None
        """What a mutating webhook does to an applied object."""
        self._version = 100
        self.requests: list[tuple[str, str, int, float]] = []

    def put(self, kind: Kind, body: Body) -> Body:
        """Create or change an object, as another client would."""
        self._version += 1
        metadata = body.setdefault("metadata", {})
        metadata.setdefault("namespace", "ns")
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata["resourceVersion"] = str(self._version)
        body.setdefault("kind", kind.kind)
        self.objects[kind, metadata["namespace"], metadata["name"]] = body
        self.events.append(("MODIFIED", kind, copy.deepcopy(body)))
        return body

    def remove(self, kind: Kind, name: str) -> None:
        """Delete an object, as another client would."""
        self.events.append(("DELETED", kind, self.objects.pop((kind, "ns", name))))

    def of_kind(self, kind: Kind) -> list[Body]:
        """All objects of a kind."""
        return [body for (of, _, _), body in self.objects.items() if of == kind]

    def take_events(self) -> list[tuple[str, Kind, Body]]:
        """The events since the last call."""
        taken, self.events = self.events, []
        return taken

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        if (broken := self.fault(request.method, request.path)) is not None:
            return broken
        if request.method == "POST":
            self.told.append((await request.json())["reason"])
            return web.json_response({}, status=201)
        kind, namespace, name, subresource = _parse(request.path)
        found = self.objects.get((kind, namespace, name)) if name else None
        if request.method == "GET" and not name:
            return self._list(kind, request)
        if request.method == "PATCH":
            dry_run = "dryRun" in request.query
            return self._apply(kind, namespace, name, subresource, await request.json(), found, dry_run)
        if found is None:
            return _status(404, f"{kind.plural} {name} not found")
        if request.method == "DELETE":
            self.writes.append(f"delete {kind.kind} {name}")
            self.remove(kind, name)
        return web.json_response(found)

    def _list(self, kind: Kind, request: web.Request) -> web.Response:
        bodies = self.of_kind(kind)
        limit, start = int(request.query.get("limit", "500")), int(request.query.get("continue", "0"))
        metadata = {"continue": str(start + limit)} if start + limit < len(bodies) else {}
        return web.json_response({"metadata": metadata, "items": bodies[start : start + limit]})

    def _apply(
        self, kind: Kind, namespace: str, name: str, subresource: str, body: Body, found: Body | None, dry_run: bool
    ) -> web.Response:
        if not dry_run:
            self.writes.append(f"apply {kind.kind} {name} {subresource}".strip())
        there = found["metadata"] if found else {}
        # Both are preconditions: a uid needs that object, a version that is not the object's needs that there is none.
        if body["metadata"].get("uid", there.get("uid")) != there.get("uid"):
            return _status(409, f"{kind.plural} {name}: uid mismatch")
        if found and body["metadata"].pop("resourceVersion", there["resourceVersion"]) != there["resourceVersion"]:
            return _status(409, f"{kind.plural} {name} has been modified")
        if subresource:
            if found is None:
                return _status(404, f"{kind.plural} {name} not found")
            merged = {**copy.deepcopy(found), "status": body["status"]}
        else:
            merged = {**copy.deepcopy(found or {}), **body}
            merged["metadata"] = {**(found or {}).get("metadata", {}), **body["metadata"]}
        merged["metadata"]["namespace"] = namespace
        self.rewrite(merged)
        return web.json_response(merged if dry_run else self.put(kind, merged))


def _parse(path: str) -> tuple[Kind, str, str, str]:
    parts = path.strip("/").split("/")
    rest = parts[3:] if parts[0] == "apis" else parts[2:]
    namespace = rest[1] if rest[0] == "namespaces" else ""
    rest = rest[2:] if rest[0] == "namespaces" else rest
    kind = next(kind for kind in (*WATCHED, NODE, RESOURCE_SLICE) if kind.plural == rest[0])
    return kind, namespace, rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""


def _status(code: int, message: str) -> web.Response:
    return web.Response(status=code, text=json.dumps({"message": message}), content_type="application/json")


def unavailable(retry_after: str = "") -> web.Response:
    """503, or 429 with the server's word on when to come back."""
    headers = {"Retry-After": retry_after} if retry_after else {}
    return web.Response(status=429 if retry_after else 503, text="{}", headers=headers)


@asynccontextmanager
async def serving(api: FakeApi, may_write: Callable[[], bool] = lambda: True) -> AsyncIterator[KubeClient]:
    """A client of the fake server."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = client_of(api, runner.addresses[0][1], may_write)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def client_of(api: FakeApi, port: int, may_write: Callable[[], bool] = lambda: True) -> KubeClient:
    """A client of whatever listens at a local port; its requests are noted in `api`."""
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{port}"
    return KubeClient(ApiClient(configuration), lambda *measured: api.requests.append(measured), may_write)
