"""Ask a model, at 127.0.0.1."""

import json
import urllib.error
import urllib.request
from typing import Any


def generate(port: int, model: str, body: dict[str, Any], timeout: float = 120) -> tuple[int, dict[str, Any]]:
    """HTTP status and answer of one whole generate."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/{model}/generate",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    # No proxy of the environment: the cluster is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ask(port: int, model: str, question: str) -> str:
    """The answer of a chat model that was trained on ChatML."""
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    parameters = {"max_tokens": 32, "temperature": 0}
    _, answer = generate(port, model, {"text_input": prompt, "parameters": parameters, "exclude_input_in_output": True})
    return str(answer.get("text_output", answer))
