"""The API server of the local cluster, asked without kubectl: a thousand questions in seconds."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from cluster import paths

_PATH = "/apis/triton-vllm.dev/v1alpha1/namespaces/{namespace}/llmdeployments?dryRun=All&fieldValidation=Strict"


class ApiServer:
    """One connection, with the administrator's certificate. Use it as a context."""

    def __init__(self) -> None:
        config = json.loads(paths.KUBECONFIG.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        context.load_cert_chain(user["client-certificate"], user["client-key"])
        address = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, context=context, timeout=30
        )

    def __enter__(self) -> "ApiServer":
        """Open for questions."""
        return self

    def __exit__(self, *_: object) -> None:
        """No more questions."""
        self._connection.close()

    def refusal(self, namespace: str, body: str) -> str:
        """Why the API server would not take an LLMDeployment as JSON text; empty if it would.

        Raises:
            AssertionError: it answered neither.
        """
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", _PATH.format(namespace=namespace), body.encode(), headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status == 201:
            return ""
        assert response.status in (400, 422), (response.status, answer)
        return str(answer["message"])
