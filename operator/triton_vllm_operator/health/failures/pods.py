"""What keeps a pod from generating, read from its status. Pure."""

import re
import signal
from dataclasses import dataclass
from typing import Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import DRAFT_FIELD, TOKENIZER_FIELD
from triton_vllm_operator.health.failures.last_words import (
    NO_WORDS,
    LastWords,
    Phase,
    find_telling_line,
    is_telling,
    lacks_words,
)
from triton_vllm_operator.health.failures.nodes import find_given_up
from triton_vllm_operator.health.failures.placing import say_unplaced
from triton_vllm_operator.health.failures.signatures import Named, Weight, name_failure
from triton_vllm_operator.kube.pod import Ended, Image, Pod
from triton_vllm_operator.sources.report import parse_report

_PULL: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONFIG_ERROR: Final = "CreateContainerConfigError"
_CONFIG: Final = frozenset({_CONFIG_ERROR, "CreateContainerError", "RunContainerError"})

_NO_COMMAND: Final = (126, 127)

_PULL_SECRET: Final = "; a private registry needs spec.scheduling.imagePullSecrets"
_NEVER_PULLED: Final = "; bring it to the node"
_NEEDS_SECRET: Final = re.compile(r"(?i)\b40[13]\b|denied|unauthori[sz]ed|authenti|not found|\b429\b|toomanyrequests")
"""A registry says "not found" of what it does not show to everybody, and limits those who do not name themselves."""
_BUSY_NODE: Final = re.compile(r"context deadline exceeded|failed to reserve container name")
"""What containerd says of a container that it is still making: https://github.com/containerd/containerd/issues/4604."""
# The kubelet's messages alternate between the error and the error after this: one sentence, or each would be a write.
_BACK_OFF: Final = re.compile(
    r'^Back-off pulling image "[^"]*": ((ErrImagePull|RegistryUnavailable|SignatureValidationFailed): )?'
)
_OFTEN: Final = 2
"""Restarts from which on it is told how often a container has ended."""
_MOST_ENDS: Final = 5
"""Ends, of which the last counts: kubelet has waited 10, 20, 40 and 80 s between them."""
_SHOWN_DEVICES: Final = 4
_OOM_KILLED: Final = "OOMKilled"
_SIGNALLED: Final = 128
"""Above it, an exit code tells the signal that ended a process."""


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
        return Problem(Reason.UNSCHEDULABLE, say_unplaced(pod))
    if pod.waiting_reason in _PULL:
        return Problem(Reason.IMAGE_PULL_FAILED, _missing_image(pod))
    if pod.waiting_reason in _CONFIG:
        return _unmade(pod)
    if pod.unprepared is not None and not pod.running:
        return _bad_source(pod, pod.unprepared)
    if pod.phase == "Failed":
        return _failed(pod)
    if pod.held and not pod.running:
        return Problem(
            Reason.NODE_CANNOT_START_POD, f"pod {pod.name}: its node cannot start it and tries again: {pod.held}"
        )
    if pod.waits_for_memory and pod.running:
        return Problem(Reason.WAITING_FOR_GPU_MEMORY, f"pod {pod.name} waits for GPU memory: {pod.waits_for_memory}")
    if pod.ended is not None and not pod.serves:
        return _crash(pod, pod.ended, words)
    return None


def cannot_begin(pod: Pod) -> bool:
    """Whether a container waits for an image or a setting, which this pod may never get."""
    return pod.waiting_reason in _PULL or (pod.waiting_reason in _CONFIG and not _BUSY_NODE.search(pod.waiting_message))


def is_refused_by_node(pod: Pod) -> bool:
    """Whether kubelet does not even try to make the container, as of an image that runs as root where none may."""
    return pod.waiting_reason == _CONFIG_ERROR


def lacks_server(pod: Pod) -> bool:
    """Whether its image has no such server, as the shell says that is to start it (POSIX, 2.8.2)."""
    return pod.ended is not None and pod.ended.exit_code in _NO_COMMAND


def _unmade(pod: Pod) -> Problem:
    """Why a node has not made the container."""
    said = pod.waiting_message
    if _BUSY_NODE.search(said):
        late = f"pod {pod.name}: its node is late in making the container and tries again: {said}"
        return Problem(Reason.NODE_CANNOT_START_POD, f"{late}; if it stays so: kubectl delete pod {pod.name}")
    if (named := name_failure(said)) is not None:
        return Problem(named.reason, f"pod {pod.name}: {named.says}; what helps: {named.do}; the node says: {said}")
    return Problem(Reason.CONTAINER_CONFIG_INVALID, f"pod {pod.name}: {said}")


def _failed(pod: Pod) -> Problem:
    """Of a pod that its node gave up, and that is replaced."""
    said = pod.phase_message or _how(pod.ended)
    if (named := name_failure(pod.phase_message)) is not None:
        return Problem(
            named.reason, f"pod {pod.name} failed: {named.says}; what helps: {named.do}; the node says: {said}"
        )
    if (given_up := find_given_up(pod.phase_reason, pod.phase_message)) is not None:
        done = "was not taken by its node" if given_up.reason is Reason.NODE_REFUSED_POD else "was given up by its node"
        return Problem(given_up.reason, f"pod {pod.name} {done}: {said}; {given_up.says}; another pod is made")
    return Problem(Reason.POD_FAILED, f"pod {pod.name} failed: {said}")


def _missing_image(pod: Pod) -> str:
    detail = _BACK_OFF.sub("", pod.waiting_message) or pod.waiting_reason
    if pod.awaited_image is None:
        return f"pod {pod.name}: {detail}"
    found = f"{_image_field(pod.awaited_image)}: pod {pod.name} has not got the image {pod.awaited_image.reference}"
    return f"{found}: {detail}{_image_remedy(pod.waiting_reason, detail)}"


def _image_remedy(reason: str, detail: str) -> str:
    if reason == "ErrImageNeverPull":
        return _NEVER_PULLED
    if reason == "ImageInspectError":
        return _SHORT_NAME
    return _PULL_SECRET if reason not in _NO_REMEDY and _NEEDS_SECRET.search(detail) else ""


_NO_REMEDY: Final = frozenset({"InvalidImageName", "SignatureValidationFailed"})
_SHORT_NAME: Final = "; write the image's name with its registry"
"""https://github.com/cri-o/cri-o: from 1.34 on, a name that several registries may have is refused."""


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
    see = f"{_SEE_LOGS} {pod.name} --previous"
    often = f", {pod.restarts + 1} times by now" if pod.restarts >= _OFTEN else ""
    if ended.reason == _OOM_KILLED:
        when = f" {words.phase}" if words.phase is not None else ""
        # What it said last is no word of its end: the kernel killed it, or a process of it.
        how = f"used too much memory and was killed (OOMKilled){when}{often}"
        return Problem(Reason.OUT_OF_MEMORY, f"pod {pod.name} {how}; raise spec.resources.limits.memory; {see}")
    named, devices = _name(ended, words), _say_devices(pod)
    if named is None:
        reason = Reason.GPU_UNHEALTHY if devices else Reason.CONTAINER_CRASHED
        return Problem(reason, f"pod {pod.name} ended with {_how(ended, words)}{often}; {see}{devices}")
    is_of_memory = named.reason is Reason.CUDA_OUT_OF_MEMORY and words.phase is not None
    when = f", {words.phase}" if is_of_memory else ""
    do = _LOADS_LESS if is_of_memory and words.phase is Phase.LOAD else named.do
    same = f"; it ended so{often}" + ("" if named.mends else ", and will again") if often else ""
    text = f"pod {pod.name}: {named.says}{when}; what helps: {do}{same}; {see}{devices}"
    return Problem(named.reason, text, in_vain=named.in_vain and pod.restarts + 1 >= _MOST_ENDS)


_SEE_LOGS: Final = "see kubectl logs"


def say_when_gone(message: str) -> str:
    """What is left to say of a problem once its pod is not there any more: its log is not either."""
    return re.sub(rf"; {_SEE_LOGS} [^;]*", "", message)


_LOADS_LESS: Final = (
    "more GPUs by spec.engine.tensorParallelSize, or a quantised model: the weights alone are too large"
)


def _name(ended: Ended, words: LastWords) -> Named | None:
    """The name of a failure; None if what is told of it by no rule says more than that a process ended."""
    told = [named for named in (name_failure(ended.message), words.named) if named is not None]
    named = min(told, key=lambda each: tuple(Weight).index(each.weight), default=None)
    says_more = is_telling(find_telling_line(ended.message)) or is_telling(words.line)
    return None if named is not None and named.weight is Weight.END and says_more else named


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
    own = find_telling_line(ended.message)
    last = own if is_telling(own) else words.line or own
    return f"{ended.reason or 'exit'} (exit code {_exit_code(ended.exit_code)})" + (f": {last}" if last else "")


def _exit_code(code: int) -> str:
    """With the signal that it stands for: https://tldp.org/LDP/abs/html/exitcodes.html."""
    try:
        return f"{code}, {signal.Signals(code - _SIGNALLED).name}"
    except ValueError:
        return str(code)
