"""Load for a model from a pod of the local cluster."""

import json
from typing import TypedDict

from support.client_pod import run_client


class Measured(TypedDict):
    """The result of one concurrency."""

    concurrency: int
    complete: int
    failed: list[str]
    seconds: float
    tokens_per_second: float


def run_load(namespace: str, url: str, *concurrencies: int) -> list[Measured]:
    """Send `concurrencies` requests at once to a `generate` URL, one after the other, from a pod.

    Raises:
        ClusterError: the pod did not end within ten minutes.
        AssertionError: it failed.
    """
    measured: list[Measured] = json.loads(run_client(namespace, "generate.py", url, *map(str, concurrencies)))
    return measured
