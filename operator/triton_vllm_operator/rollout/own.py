"""Own pods, as far as they decide where one more may go."""

from dataclasses import dataclass

from triton_vllm_operator.kube.requests import Amounts


@dataclass(frozen=True, slots=True)
class Own:
    """A pod of the same LLMDeployment that has a node."""

    node: str
    requests: Amounts
    goes: bool
    """Whether it is being deleted: what it asks for is free once its object is gone."""
    is_old: bool = True
    """Whether a new pod is to take its place."""
    serves: bool = True
    is_alike: bool = False
    """Whether its revision has the rules of the new pod for where it may go."""
