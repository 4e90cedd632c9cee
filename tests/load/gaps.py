"""Runs in a pod: asks a `generate` URL five times a second for so many seconds, each on a connection of its own.

Says how often it was answered, what else it got, and the longest time between two answers.
"""

import json
import sys
import time
import urllib.request

PAUSE_SECONDS = 0.2


def ask(url: str) -> str:
    body = json.dumps({"text_input": "Hi", "parameters": {"max_tokens": 4, "ignore_eos": True}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return "" if json.load(answer).get("num_output_tokens", 4) == 4 else "an answer that is not whole"
    except OSError as error:
        return repr(error)


def main(url: str, seconds: int) -> None:
    began = last = time.monotonic()
    answered, errors, longest = 0, list[str](), 0.0
    while time.monotonic() < began + seconds:
        if error := ask(url):
            errors.append(f"after {time.monotonic() - began:.1f} s: {error}")
        else:
            answered += 1
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            if answered == 1:
                print(json.dumps({"answered": 1}), flush=True)
        time.sleep(PAUSE_SECONDS)
    said = {"answered": answered, "errors": errors[:3], "failed": len(errors), "longest_gap": round(longest, 1)}
    print(json.dumps(said))


main(sys.argv[1], int(sys.argv[2]))
