"""What kubectl tells of the cluster of its current context. This module does I/O."""

import json
import subprocess
from typing import Final

from pydantic import ValidationError

from triton_vllm_operator.api import names
from triton_vllm_operator.api.base import Json
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.kube.nodes import Node, project_node

_SECONDS: Final = 30


def read_nodes() -> tuple[Node, ...]:
    """The nodes of the cluster.

    Raises:
        Unreadable: kubectl is not there, or may not list them.
    """
    items = _ask("get", "nodes").get("items")
    return tuple(project_node(body) for body in items if isinstance(body, dict)) if isinstance(items, list) else ()


def read_status(name: str, namespace: str | None) -> LLMDeploymentStatus:
    """The status of an LLMDeployment of the cluster.

    Raises:
        Unreadable: kubectl is not there, or there is no such LLMDeployment.
    """
    within = ("--namespace", namespace) if namespace else ()
    found = _ask("get", f"{names.PLURAL}.{names.GROUP}", name, *within)
    try:
        return LLMDeploymentStatus.model_validate(found.get("status") or {})
    except ValidationError as error:
        raise Unreadable(f"the status of {name} was written by another version of the operator") from error


def _ask(*arguments: str) -> Json:
    command = ("kubectl", *arguments, "--output=json")
    asked = " ".join(command[:3])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        found = json.loads(done.stdout)
    except FileNotFoundError as error:
        raise Unreadable("kubectl is not on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"{asked} did not answer within {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        raise Unreadable(f"{asked}: {' '.join(error.stderr.split())}") from error
    except ValueError as error:
        raise Unreadable(f"{asked} printed no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unreadable(f"{asked} printed no object")
    return found
