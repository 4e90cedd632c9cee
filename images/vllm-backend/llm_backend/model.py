"""The interface that Triton calls."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from llm_backend.causes import find_cause, forget_errors
from llm_backend.contract import INPUTS, OUTPUTS, RequestError, describe
from llm_backend.devices import GPU_DEVICE_IDS, choose_devices
from llm_backend.given_up import Watch
from llm_backend.outbox import refuse
from llm_backend.request import read_request

ENGINE_ARGUMENTS = "model.json"
CUSTOM_METRICS = "REPORT_CUSTOM_METRICS"
HEALTH_CHECK = "ENABLE_VLLM_HEALTH_CHECK"
UNHEALTHY = "Model is unavailable due to unhealthy vLLM engine"
"""NVIDIA's words."""


# Kubernetes' default for terminationMessagePath. Triton's log ends with tables, not with the reason.
TERMINATION_LOG = Path("/dev/termination-log")


class TritonPythonModel:
    """One model of the repository: one vLLM engine."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Fill in what every vLLM model has, so that config.pbtxt stays a few lines."""
        config = auto_complete_model_config
        declared = {entry["name"] for kind in ("input", "output") for entry in config.as_dict()[kind]}
        for tensors, add in ((INPUTS, config.add_input), (OUTPUTS, config.add_output)):
            for tensor in tensors:
                if tensor.name not in declared:
                    add(tensor.entry)
        # One request may have many responses, and vLLM does the batching.
        config.set_model_transaction_policy({"decoupled": True})
        config.set_max_batch_size(0)
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Start the engine with model.json as its arguments; an exception here fails the load."""
        # vLLM is imported here and not above: auto_complete_config runs in a process of its own.
        from llm_backend.adapters import read_adapters
        from llm_backend.engine import Engine

        path = Path(args["model_repository"]) / args["model_version"] / ENGINE_ARGUMENTS
        if not path.is_file():
            raise FileNotFoundError(
                f"'{ENGINE_ARGUMENTS}' containing vllm engine args must be provided in '{path.parent}'"
            )
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self._unloads_when_dead = _is_set(parameters, HEALTH_CHECK)
        self._name = args["model_name"]
        forget_errors()
        instance = args["model_instance_name"]
        self._watch = Watch(lambda: _give_up(instance))
        self._watch.start()
        try:
            arguments = json.loads(path.read_text())
            _see_devices(args, parameters.get(GPU_DEVICE_IDS, {}).get("string_value", ""), arguments)
            self._engine = Engine(
                arguments=arguments,
                adapters=read_adapters(path.parent, str(arguments.get("enable_lora")).lower() == "true"),
                model=args["model_name"],
                version=args["model_version"],
                report_metrics=_is_set(parameters, CUSTOM_METRICS),
            )
        except Exception as error:
            self._watch.stop()
            _leave_reason(error)
            raise
        self._watch.loaded()

    def is_ready(self) -> bool:
        """What `/v2/models/NAME/ready` says; Triton asks for it from the python_backend of 26.03 on."""
        return not self._engine.is_dead

    def execute(self, requests: list[Any]) -> None:
        """Take requests over; their responses are sent later, in any number."""
        if self._unloads_when_dead and self._engine.is_dead:
            self._unload(requests)
            return
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._engine.submit(read_request(request), sender)
            except RequestError as error:
                refuse(sender, describe(error))

    def _unload(self, requests: list[Any]) -> None:
        """As NVIDIA's backend with ENABLE_VLLM_HEALTH_CHECK: it needs --model-control-mode=explicit."""
        for request in requests:
            refuse(request.get_response_sender(), UNHEALTHY)
        try:
            pb_utils.unload_model(self._name)
        except pb_utils.TritonModelException as error:
            pb_utils.Logger.log_error(f"[vllm] the engine is dead, and the model cannot be unloaded: {error}")

    def finalize(self) -> None:
        """Stop the engine."""
        self._watch.stop()
        self._engine.stop()


def _is_set(parameters: dict[str, dict[str, str]], name: str) -> bool:
    """Whether a parameter of config.pbtxt says true, as NVIDIA's backend reads it."""
    return parameters.get(name, {}).get("string_value", "").lower() == "true"


def _see_devices(args: dict[str, str], device_ids: str, arguments: dict[str, Any]) -> None:
    gpus = int(arguments.get("tensor_parallel_size", 1)) * int(arguments.get("pipeline_parallel_size", 1))
    devices = choose_devices(args["model_instance_kind"], int(args["model_instance_device_id"]), device_ids, gpus)
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices


def _give_up(instance: str) -> None:
    """End this process and the engine's: Triton waits for it, and says then that the model failed."""
    said = f"no thread of stub process {instance} ran for a second while it loaded the model, and Triton gave it up"
    try:
        print(f"[vllm] {said}; it ends now, so that the server does", file=sys.stderr, flush=True)
        _kill_children()
    finally:
        # Last: what the engine says as it is killed is not the reason.
        _write_reason(said)
        os._exit(1)


def _kill_children() -> None:
    # One of vLLM's own dependencies, and not of the tests of this package.
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _leave_reason(error: Exception) -> None:
    """Say in the pod's status why the model could not be loaded: of what the engine's own processes said, the cause."""
    said, cause = " ".join(str(error).split()), find_cause()
    _write_reason(cause if cause and cause not in said else said)


def _write_reason(said: str) -> None:
    with contextlib.suppress(OSError):
        TERMINATION_LOG.write_text(f"Error: {said}"[:2000])
