"""Events: told once, and whatever the API server says of them keeps nothing up."""

import logging
from typing import Any

import pytest
from aiohttp import web

from fault.fakeapi import FakeApi, serving
from support.simulate import NOW, OWNER
from triton_vllm_operator.kube.cache import Cache
from triton_vllm_operator.kube.errors import ApiError, Conflict, Refused
from triton_vllm_operator.reconcile.apply import Writer
from triton_vllm_operator.reconcile.model import News

NEWS = (News("MemoryPlanMissed", "too little" * 200, "llama-1"), News("MemoryPlanMissed", "more", "llama-2"))


class Client:
    """Takes Events, or answers with an error."""

    def __init__(self, error: ApiError | None = None) -> None:
        self.error = error
        self.taken: list[dict[str, Any]] = []

    async def post_event(self, manifest: dict[str, Any]) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(manifest)


async def tell(client: Client) -> None:
    await Writer(client, Cache()).tell(OWNER, NEWS, NOW)  # type: ignore[arg-type]


async def test_an_event_names_its_llmdeployment_and_what_it_is_about() -> None:
    client = Client()
    await tell(client)
    await tell(client)
    first, second, again, _ = client.taken
    assert first["involvedObject"]["uid"] == OWNER.uid
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first == again, "the API server takes a name once"
    assert len(first["message"]) == 1024


async def test_an_event_goes_to_the_namespace_of_its_llmdeployment() -> None:
    api = FakeApi()
    asked: list[str] = []

    def answer(method: str, path: str) -> web.Response:
        asked.append(f"{method} {path}")
        # Told twice: the API server has one of that name.
        return (
            web.json_response({"message": "exists"}, status=409)
            if len(asked) > 2
            else web.json_response({}, status=201)
        )

    api.fault = answer
    async with serving(api) as client:
        writer = Writer(client, Cache())
        await writer.tell(OWNER, NEWS, NOW)
        await writer.tell(OWNER, NEWS, NOW)
    assert asked == ["POST /api/v1/namespaces/models/events"] * 4


@pytest.mark.parametrize(
    ("error", "words"),
    [(Conflict(409, "create events", "exists"), []), (Refused(403, "create events", "no right"), ["no right"] * 2)],
)
async def test_what_cannot_be_told_is_logged(
    error: ApiError, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await tell(Client(error))
    assert [word in record.message for word, record in zip(words, caplog.records, strict=True)] == [True] * len(words)
