"""Whether the pods get a PodDisruptionBudget. Pure."""

from triton_vllm_operator.kube.budget_lister import Budget
from triton_vllm_operator.kube.resources import DISRUPTION_BUDGET, as_dict, as_list, metadata_of
from triton_vllm_operator.manifests.disruption_budget import LEAST_REPLICAS
from triton_vllm_operator.manifests.revision import Revision
from triton_vllm_operator.memory.admission import holds
from triton_vllm_operator.reconcile.live import Live
from triton_vllm_operator.reconcile.model import Observed


def is_guarded(observed: Observed, revision: Revision, live: Live) -> bool:
    """Where there are several pods, and nobody else's budget is for them or has the name; unknown: as it is."""
    if live.replicas < LEAST_REPLICAS:
        return False
    if observed.budgets.why_unknown:
        return bool(observed.children_of(DISRUPTION_BUDGET))
    name, labels = observed.resource.owner.name, _labels(revision)
    return not any(budget.name == name or _selects(budget, labels) for budget in observed.budgets.budgets)


def _labels(revision: Revision) -> dict[str, str]:
    labels = as_dict(metadata_of(revision.pod_template).get("labels"))
    return {key: str(value) for key, value in labels.items()}


def _selects(budget: Budget, labels: dict[str, str]) -> bool:
    equal = as_dict(budget.selector.get("matchLabels"))
    rules = as_list(budget.selector.get("matchExpressions"))
    return all(labels.get(key) == value for key, value in equal.items()) and all(holds(rule, labels) for rule in rules)
