"""Runs in a pod: asks a `generate` URL once a second for so many seconds. Says how often it was answered."""

import json
import sys
import time
import urllib.request


def ask(url: str) -> str:
    body = json.dumps({"text_input": "Hi", "parameters": {"max_tokens": 4}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return "" if "text_output" in json.load(answer) else "no text"
    except OSError as error:
        return repr(error)


def main(url: str, seconds: int) -> None:
    answered, errors, until = 0, list[str](), time.monotonic() + seconds
    while time.monotonic() < until:
        error = ask(url)
        answered += not error
        errors += [error] if error else []
        time.sleep(1)
    print(json.dumps({"answered": answered, "errors": errors[:3]}))


main(sys.argv[1], int(sys.argv[2]))
