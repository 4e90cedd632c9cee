"""Runs in a pod: `grpc_clients.py HOST:PORT MODEL CLIENTS SECONDS`: clients that keep their channels while pods go.

Each asks again and again, on a stream of its own in its channel. An answer counts if it is whole: as many tokens as
were asked for, and the reason that it ended by that. Runs in the runtime's image, which has Triton's client.
"""

import json
import queue
import sys
import threading
import time

import numpy as np
import tritonclient.grpc as triton

TOKENS = 20
PARAMETERS = json.dumps({"max_tokens": TOKENS, "ignore_eos": True})


def tensor(name: str, value: object) -> triton.InferInput:
    array = np.array([value]) if isinstance(value, bool) else np.array([str(value).encode()], dtype=np.object_)
    made = triton.InferInput(name, [1], "BOOL" if isinstance(value, bool) else "BYTES")
    made.set_data_from_numpy(array)
    return made


def ask(client: triton.InferenceServerClient, model: str) -> str:
    """What is wrong with one answer; empty if it is whole."""
    given = {"text_input": "Once", "stream": True, "sampling_parameters": PARAMETERS}
    given |= {"return_num_output_tokens": True, "return_finish_reason": True}
    responses: queue.Queue[tuple[object, object]] = queue.Queue()
    found, last = 0, ""
    client.start_stream(lambda result, error: responses.put((result, error)))
    try:
        client.async_stream_infer(model, [tensor(name, value) for name, value in given.items()])
        while last != "length":
            result, error = responses.get(timeout=120)
            if error is not None:
                return str(error)
            found += int(result.as_numpy("num_output_tokens")[0])
            last = result.as_numpy("finish_reason")[0].decode()
    except queue.Empty:
        return f"no answer, after {found} tokens"
    finally:
        client.stop_stream()
    return "" if found == TOKENS else f"{found} of {TOKENS} tokens"


def run(address: str, model: str, until: float, whole: list[int], failures: list[str]) -> None:
    client = triton.InferenceServerClient(address)
    began = time.monotonic()
    while time.monotonic() < until:
        if failure := ask(client, model):
            failures.append(f"after {time.monotonic() - began:.1f} s: {failure}")
            continue
        whole.append(1)
        if len(whole) == 1:
            print(json.dumps({"answered": 1}), flush=True)
    client.close()


def main(address: str, model: str, clients: int, seconds: int) -> None:
    whole, failures = list[int](), list[str]()
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=run, args=(address, model, until, whole, failures)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"answered": len(whole), "failed": len(failures), "errors": failures[:5]}))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
