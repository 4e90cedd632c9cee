"""Ask a model, at 127.0.0.1."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

# No proxy of the environment: the cluster is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def send(port: int, path: str, body: bytes | None, timeout: float = 120) -> tuple[int, str]:
    """HTTP status and text of a POST of `body`, or of a GET."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
    try:
        with _OPENER.open(request, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def generate(port: int, model: str, body: dict[str, Any], timeout: float = 120) -> tuple[int, dict[str, Any]]:
    """HTTP status and answer of one whole generate."""
    status, text = send(port, f"/v2/models/{model}/generate", json.dumps(body).encode(), timeout)
    return status, json.loads(text)


def generate_stream(port: int, model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """All frames of one generate_stream."""
    _, text = send(port, f"/v2/models/{model}/generate_stream", json.dumps(body).encode())
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def stream_times(port: int, model: str, body: dict[str, Any]) -> list[float]:
    """When each frame of one generate_stream came, by a monotonic clock."""
    headers = {"Content-Type": "application/json"}
    address = f"http://127.0.0.1:{port}/v2/models/{model}/generate_stream"
    request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)
    with _OPENER.open(request, timeout=120) as response:
        return [time.monotonic() for line in response if line.startswith(b"data: ")]


def ask(port: int, model: str, question: str, timeout: float = 120) -> str:
    """The answer of a chat model that was trained on ChatML.

    Raises:
        ValueError: it did not answer with text.
    """
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    parameters = {"max_tokens": 32, "temperature": 0}
    body = {"text_input": prompt, "parameters": parameters, "exclude_input_in_output": True}
    status, answer = generate(port, model, body, timeout)
    if "text_output" not in answer:
        raise ValueError(f"HTTP {status}: {answer}")
    return str(answer["text_output"])
