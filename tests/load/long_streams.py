"""Runs in a pod: `long_streams.py TOKENS URL...`: one stream of so many tokens from each `generate_stream` URL.

They flow at once. Says when all have begun, and in the end of each how many tokens came and what it ended by.
"""

import json
import sys
import threading
import urllib.request


def ask(url: str, tokens: int, begun: threading.Semaphore, found: dict[str, object]) -> None:
    settings = {"max_tokens": tokens, "ignore_eos": True}
    body = json.dumps({"text_input": "Once", "stream": True, "parameters": settings}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    count, last = 0, ""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    frame = json.loads(line.removeprefix(b"data: "))
                    begun.release() if count == 0 else None
                    count, last = count + int(frame.get("num_output_tokens", 1)), frame.get("finish_reason") or last
    except OSError as error:
        last = repr(error)
    found[url] = {"tokens": count, "ended_by": last}


def main(tokens: int, urls: list[str]) -> None:
    begun, found = threading.Semaphore(0), dict[str, object]()
    threads = [threading.Thread(target=ask, args=(url, tokens, begun, found)) for url in urls]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire(timeout=60)
    print(json.dumps({"answered": len(urls)}), flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps(found))


main(int(sys.argv[1]), sys.argv[2:])
