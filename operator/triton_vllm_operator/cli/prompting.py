"""`kubectl llm generate NAME "prompt"`: a request to a model through the API server, and its answer. Pure."""

import json
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api.base import Json
from triton_vllm_operator.cli.cluster import Running

RENDER_CHAT: Final = """
import json, pathlib, sys
given = json.load(sys.stdin)
(arguments,) = (json.loads(path.read_text()) for path in pathlib.Path("/models").glob("*/*/model.json"))
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(
    arguments.get("tokenizer") or arguments["model"], trust_remote_code=bool(arguments.get("trust_remote_code"))
)
messages = [{"role": "user", "content": given["prompt"]}]
try:
    found = {"prompt": tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)}
except Exception as error:
    lacks = "the model has no chat template: ask without --chat"
    found = {"error": f"its chat template fails: {error}" if tokenizer.chat_template else lacks}
print(json.dumps(found))
"""
"""Runs in the serving container, where the model's tokenizer and its libraries are.

Reads {"prompt"}, prints the same as the model wants it, or {"error"}.
"""


_UNFINISHED: Final = (None, "", "None")
"""Finish reasons of frames that are not the last."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one line of an answer holds."""

    text: str = ""
    error: str = ""
    is_last: bool = False


def stream_path(running: Running) -> str:
    """Of the model, on its server."""
    return f"/v2/models/{running.served_name}/generate_stream"


def build_request(prompt: str, max_tokens: int, temperature: float | None, adapter: str | None) -> Json:
    """The body of a request; what is not given is left to the model's own defaults."""
    given = {"max_tokens": max_tokens, "temperature": temperature, "lora_name": adapter}
    return {
        "text_input": prompt,
        "stream": True,
        "return_finish_reason": True,
        "parameters": {name: value for name, value in given.items() if value is not None},
    }


def read_piece(line: str) -> Piece:
    """What a line of the answer says: a frame of server-sent events, or an error in plain JSON."""
    text = line.strip().removeprefix("data:").strip()
    if not text.startswith("{"):
        return Piece()
    try:
        frame = json.loads(text)
    except ValueError:
        return Piece(error=f"the model's answer is no JSON: {text[:200]}")
    if "error" in frame:
        return Piece(error=str(frame["error"]))
    return Piece(text=str(frame.get("text_output") or ""), is_last=frame.get("finish_reason") not in _UNFINISHED)
