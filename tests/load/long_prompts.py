"""Runs in a pod: so many long prompts at once for a `generate` URL, none like another. Says how many were answered."""

import concurrent.futures
import json
import socket
import sys
import time
import urllib.parse
import urllib.request

WORDS = 210
"""Of some four tokens each: nearly all that a sequence of 1024 tokens may hold."""


def ask(url: str, number: int) -> str:
    text = " ".join(f"w{(number * 7919 + place) % 9973}"[:4] for place in range(WORDS))
    body = json.dumps({"text_input": text, "parameters": {"max_tokens": 8, "ignore_eos": True}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=500) as answer:
            return "" if "text_output" in json.load(answer) else "no text"
    except OSError as error:
        return repr(error)


def with_address(url: str) -> str:
    """A hundred questions at once for the same name, on a machine that computes, are too many for its name server."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return url.replace(host, socket.gethostbyname(host), 1)


def main(url: str, count: int) -> None:
    url = with_address(url)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        errors = [error for error in pool.map(lambda number: ask(url, number), range(count)) if error]
    print(json.dumps({"answered": count - len(errors), "errors": errors[:3], "seconds": time.monotonic() - began}))


main(sys.argv[1], int(sys.argv[2]))
