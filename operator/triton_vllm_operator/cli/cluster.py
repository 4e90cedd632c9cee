"""What kubectl tells of the cluster of its current context. This module does I/O."""

import json
import subprocess
from typing import Final

from triton_vllm_operator.cli.files import Unreadable
from triton_vllm_operator.kube.nodes import Node, project_node

_NODES: Final = ("kubectl", "get", "nodes", "--output=json")
_SECONDS: Final = 30


def read_nodes() -> tuple[Node, ...]:
    """The nodes of the cluster.

    Raises:
        Unreadable: kubectl is not there, or may not list them.
    """
    try:
        done = subprocess.run(_NODES, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return tuple(map(project_node, json.loads(done.stdout)["items"]))
    except FileNotFoundError as error:
        raise Unreadable("--nodes: kubectl is not on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"--nodes: kubectl did not answer within {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise Unreadable(f"--nodes: kubectl cannot list the nodes: {said}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"--nodes: what kubectl printed is no list of nodes: {error}") from error
