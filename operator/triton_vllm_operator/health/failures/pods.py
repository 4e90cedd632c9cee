"""What keeps a pod from generating, read from its status. Pure."""

import re
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import DRAFT_FIELD, TOKENIZER_FIELD
from triton_vllm_operator.health.failures.last_words import NO_WORDS, LastWords, find_telling_line, lacks_words
from triton_vllm_operator.health.failures.signatures import name_failure
from triton_vllm_operator.kube.pod import Ended, Image, Pod
from triton_vllm_operator.sources.report import parse_report

_PULL: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONFIG: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})

_PULL_SECRET: Final = "; a private registry needs spec.scheduling.imagePullSecrets"
_NEVER_PULLED: Final = "; bring it to the node"
_CLAIM_REMEDY: Final = "create the claim, or name another one in spec.model"
# The kubelet's messages alternate between the error and the error after this: one sentence, or each would be a write.
_BACK_OFF: Final = re.compile(
    r'^Back-off pulling image "[^"]*": ((ErrImagePull|RegistryUnavailable|SignatureValidationFailed): )?'
)
_OFTEN: Final = 2
"""Restarts from which on it is told how often a container has ended."""
_IN_VAIN: Final = 5
"""Ends, of which the last counts: kubelet has waited 10, 20, 40 and 80 s between them."""
_SHOWN_DEVICES: Final = 4
_OOM_KILLED: Final = "OOMKilled"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a pod does not generate."""

    reason: Reason
    message: str
    in_vain: bool = False
    """Whether a container ended so often, for what only a change of the spec or the model mends, that it will again."""


def find_problem(pod: Pod, words: LastWords = NO_WORDS) -> Problem | None:
    """The problem that the status of a pod names; None while nothing is wrong with it.

    `words` is what the end of its log says.
    """
    if pod.unschedulable:
        remedy = f"; {_CLAIM_REMEDY}" if "persistentvolumeclaim" in pod.unschedulable else ""
        return Problem(Reason.UNSCHEDULABLE, f"pod {pod.name} fits on no node: {pod.unschedulable}{remedy}")
    if pod.waiting_reason in _PULL:
        return Problem(Reason.IMAGE_PULL_FAILED, _missing_image(pod))
    if pod.waiting_reason in _CONFIG:
        return Problem(Reason.CONTAINER_CONFIG_INVALID, f"pod {pod.name}: {pod.waiting_message}")
    if pod.unprepared is not None and not pod.running:
        return _bad_source(pod, pod.unprepared)
    if pod.phase == "Failed":
        return Problem(Reason.POD_FAILED, f"pod {pod.name} failed: {pod.phase_message or _how(pod.ended)}")
    if pod.ended is not None and not pod.serves:
        return _crash(pod, pod.ended, words)
    return None


def cannot_begin(pod: Pod) -> bool:
    """Whether a container waits for an image or a setting, which this pod may never get."""
    return pod.waiting_reason in _PULL | _CONFIG


def _missing_image(pod: Pod) -> str:
    detail = _BACK_OFF.sub("", pod.waiting_message) or pod.waiting_reason
    if pod.awaited_image is None:
        return f"pod {pod.name}: {detail}"
    found = f"{_image_field(pod.awaited_image)}: pod {pod.name} has not got the image {pod.awaited_image.reference}"
    return f"{found}: {detail}{_IMAGE_REMEDIES.get(pod.waiting_reason, _PULL_SECRET)}"


_IMAGE_REMEDIES: Final = {
    "ErrImageNeverPull": _NEVER_PULLED,
    "InvalidImageName": "",
    "SignatureValidationFailed": "",
}


def _image_field(image: Image) -> str:
    """What a user would change for another image."""
    if image.adapter:
        return f"spec.model.loraAdapters[{image.adapter}].image"
    return _IMAGE_FIELDS.get(image.holder, "the pod")


_IMAGE_FIELDS: Final = {
    names.MODEL_VOLUME: "spec.model.image",
    names.DRAFT_VOLUME: f"{DRAFT_FIELD}.image",
    names.TOKENIZER_VOLUME: f"{TOKENIZER_FIELD}.image",
    names.CONTAINER: "spec.runtime",
    names.PREPARE_CONTAINER: "modelTools.image of the operator's chart",
    names.FETCH_CONTAINER: "modelTools.image of the operator's chart",
}


def _bad_source(pod: Pod, ended: Ended) -> Problem:
    """What the init container reported of the weights, or how it ended if it could not report."""
    report = parse_report(ended.message)
    if report is not None and report.fault is not None:
        return Problem(report.fault.reason, report.fault.message)
    reason = Reason.OUT_OF_MEMORY if ended.reason == _OOM_KILLED else Reason.MODEL_FETCH_FAILED
    return Problem(reason, f"pod {pod.name}: preparing the weights ended with {_how(ended)}")


def find_gate_failure(pod: Pod, done: str = "") -> Problem | None:
    """What the probes found wrong with a pod that loaded; None if nothing.

    `done` is what the operator does about it; empty if that is for its owner to do.
    """
    if pod.gate is None or pod.gate.generates or pod.gate.reason not in _GATE_TEXTS:
        return None
    if pod.gate.container_id != pod.container_id or not pod.running:
        return None
    reason = Reason(pod.gate.reason)
    detail = f": {pod.gate.detail}" if pod.gate.detail else ""
    # A pod that never generated was not broken by anything: the next one would be as it is.
    by_hand = f"to replace it: kubectl delete pod {pod.name}"
    remedy = (done or by_hand) if pod.gate.has_generated else _NEVER_WORKED.get(reason, "")
    found = f"pod {pod.name} {_GATE_TEXTS[reason]}{detail}; {remedy.replace(_POD, pod.name)}"
    return Problem(reason, found + _say_devices(pod))


_POD: Final = "POD"
_NEVER_WORKED: Final = {
    Reason.ENGINE_DEAD: "it never generated, and a new pod would end as it did; see kubectl logs POD",
    Reason.GENERATE_FAILED: (
        "it never generated, and a new pod would answer the same: change spec.engine or the model; see kubectl logs POD"
    ),
    Reason.GENERATE_TIMED_OUT: (
        "it never generated: where its first tokens take longer, raise spec.probe.timeoutSeconds; see kubectl logs POD"
    ),
    Reason.NOTHING_GENERATED: (
        "it never generated: choose a spec.probe.prompt that the model answers with text; see kubectl logs POD"
    ),
}
# A degenerate answer is never the first of a container: it has worked.
_GATE_TEXTS: Final = {
    Reason.ENGINE_DEAD: "is up, but its vLLM engine is dead",
    Reason.GENERATE_FAILED: "answers the probe with an error",
    Reason.GENERATE_TIMED_OUT: "generated no token within spec.probe.timeoutSeconds",
    Reason.NOTHING_GENERATED: "answers the probe without any text",
    Reason.DEGENERATE_ANSWER: "answers the probe with garbage",
}


def _crash(pod: Pod, ended: Ended, words: LastWords) -> Problem:
    see = f"see kubectl logs {pod.name} --previous"
    often = f", {pod.restarts + 1} times by now" if pod.restarts >= _OFTEN else ""
    if ended.reason == _OOM_KILLED:
        when = f" {words.phase}" if words.phase is not None else ""
        how = f"ended with {_how(ended, words)}{when}{often}"
        return Problem(Reason.OUT_OF_MEMORY, f"pod {pod.name} {how}; raise spec.resources.limits.memory; {see}")
    named, devices = name_failure(ended.message) or words.named, _say_devices(pod)
    if named is None:
        reason = Reason.GPU_UNHEALTHY if devices else Reason.CONTAINER_CRASHED
        return Problem(reason, f"pod {pod.name} ended with {_how(ended, words)}{often}; {see}{devices}")
    is_of_memory = named.reason is Reason.CUDA_OUT_OF_MEMORY and words.phase is not None
    when = f", {words.phase}" if is_of_memory else ""
    same = f"; it ended so{often}" + ("" if named.mends else ", and will again") if often else ""
    text = f"pod {pod.name}: {named.says}{when}; what helps: {named.do}{same}; {see}{devices}"
    return Problem(named.reason, text, in_vain=named.in_vain and pod.restarts + 1 >= _IN_VAIN)


def _say_devices(pod: Pod) -> str:
    if not pod.unhealthy_devices:
        return ""
    named = ", ".join(pod.unhealthy_devices[:_SHOWN_DEVICES])
    return f"; the kubelet calls its {named} unhealthy: drain the node and have it looked at"


def wants_words(pod: Pod) -> bool:
    """Whether the log of a container that ended says more than its termination message."""
    ended = pod.ended
    if ended is None or pod.serves or pod.job_uid or not ended.container_id or ended.exit_code == 0:
        return False
    return lacks_words(ended.message, ended.reason == _OOM_KILLED)


def _how(ended: Ended | None, words: LastWords = NO_WORDS) -> str:
    if ended is None:
        return "no word of its own"
    last = find_telling_line(ended.message) or words.line
    return f"{ended.reason or 'exit'} (exit code {ended.exit_code})" + (f": {last}" if last else "")
