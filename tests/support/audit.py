"""What the operator asked of the API server, from the server's own audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster import paths
from support.install import USER

READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True)
class Request:
    """One request of the operator."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    time: str
    path: str
    source: str
    """Address of the pod that asked."""


def operator_requests(since: str = "", until: str = "9999") -> list[Request]:
    """The operator's requests between two times (RFC 3339), oldest first."""
    found = []
    for line in audit_lines(paths.AUDIT_LOG):
        if USER not in line:
            continue
        event = json.loads(line)
        if event["user"]["username"] == USER and since <= event["requestReceivedTimestamp"] <= until:
            found.append(_request(event))
    return found


def audit_lines(log: Path) -> Iterator[str]:
    """The lines of an audit log, oldest first: also of the files that the API server put aside at 100 MB each.

    It calls them NAME-TIME.log (lumberjack), which sorts before NAME.log.
    """
    for file in sorted(log.parent.glob(f"{log.stem}*{log.suffix}")):
        with file.open() as lines:
            yield from lines


def writes(requests: list[Request]) -> list[Request]:
    """Those that are not get, list or watch."""
    return [request for request in requests if request.verb not in READS]


def _request(event: dict) -> Request:
    target = event.get("objectRef", {})
    resource = "/".join(filter(None, (target.get("resource", ""), target.get("subresource", ""))))
    return Request(
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=resource,
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        time=event["requestReceivedTimestamp"],
        path=event["requestURI"],
        source=next(iter(event.get("sourceIPs", ())), ""),
    )
