"""Whether the way in which weights are quantised is one that vLLM reads, and the one that the spec names. Pure."""

from typing import Final

from triton_vllm_operator.sources.config import language_parts
from triton_vllm_operator.sources.fault import not_servable
from triton_vllm_operator.sources.files import Files, Json
from triton_vllm_operator.sources.task import Expectation

_FIELD: Final = "spec.engine.quantization"
# Methods of other programs, and those that vLLM had or has in some version: of no other name is anything certain, since
# vLLM takes over some by names of its own.
_FOREIGN: Final = frozenset(
    {
        *("exl2", "exl3", "eetq", "vptq", "bitnet", "quip", "quip#", "higgs", "spqr", "quanto", "mlx", "ggml"),
        *("aqlm", "awq", "awq_marlin", "bitblas", "bitsandbytes", "compressed-tensors", "deepspeedfp", "experts_int8"),
        *(
            "fbgemm_fp8",
            "fp8",
            "gguf",
            "gptq",
            "gptq_bitblas",
            "gptq_marlin",
            "gptq_marlin_24",
            "hqq",
            "ipex",
            "marlin",
        ),
        *(
            "modelopt",
            "modelopt_fp4",
            "moe_wna16",
            "mxfp4",
            "neuron_quant",
            "ptpc_fp8",
            "qqq",
            "quark",
            "rtn",
            "torchao",
        ),
        *("tpu_int8", "auto-round"),
    }
)
_ALIASES: Final = {"auto-round": "inc"}
# What `quantization` may say beside the name in the weights' own configuration: vLLM chooses a kernel of the family.
# https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py (_verify_quantization)
_KERNELS: Final = {
    "awq": frozenset({"awq_marlin", "auto_awq", "moe_wna16", "inc", "ipex", "humming"}),
    "gptq": frozenset(
        {"gptq_marlin", "auto_gptq", "gptq_bitblas", "gptq_marlin_24", "bitblas", "marlin", "moe_wna16"}
        | {"inc", "ipex", "humming"}
    ),
    "modelopt": frozenset({"modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed"}),
    "modelopt_fp4": frozenset({"modelopt"}),
    "mxfp4": frozenset({"gpt_oss_mxfp4", "humming"}),
    "mxfp8": frozenset({"modelopt_mxfp8"}),
    "fp8": frozenset({"deepseek_v4_fp8", "humming"}),
    "compressed-tensors": frozenset({"humming"}),
    "auto-round": frozenset({"inc", "gptq", "awq", "gptq_marlin", "awq_marlin", "auto_gptq", "auto_awq"}),
}
# Methods that read how the weights were quantised from the model, and cannot quantise by themselves.
_NEED_QUANTISED: Final = frozenset(
    {
        *("awq", "awq_marlin", "auto_awq", "gptq", "gptq_marlin", "auto_gptq", "gptq_bitblas", "gptq_marlin_24"),
        *("compressed-tensors", "modelopt", "modelopt_fp4", "quark", "aqlm", "hqq"),
    }
)
_MODELOPT: Final = (("MXFP8", "modelopt_mxfp8"), ("FP4", "modelopt_fp4"), ("MIXED", "modelopt_mixed"))
MODELOPT_FILE: Final = "hf_quant_config.json"
_SIDE_FILES: Final = ("quantize_config.json", "quant_config.json")


def find_method(files: Files, config: Json) -> str | None:
    """How the model says that its weights are quantised; None if it does not."""
    parts = tuple(reversed(tuple(language_parts(config))))
    # Older weights of compressed-tensors bear the second key, those of ModelOpt have a file of their own.
    keys = ("quantization_config", "compression_config")
    stated = next((value for key in keys for part in parts if isinstance(value := part.get(key), dict)), None)
    given = files.read_json_if_there(MODELOPT_FILE) if stated is None else stated
    method = given.get("quant_method")
    if _is_modelopt(given, method):
        return _find_modelopt(given)
    named = method.lower() if isinstance(method, str) else ""
    return named.replace("compressed_tensors", "compressed-tensors") or None


def _is_modelopt(given: Json, method: object) -> bool:
    """https://github.com/vllm-project/vllm/blob/main/vllm/transformers_utils/model_arch_config_convertor.py."""
    if isinstance(method, str) and method:
        return method.lower() == "modelopt"
    producer = given.get("producer")
    return isinstance(producer, dict) and producer.get("name") == "modelopt" and bool(_algorithm(given))


def _find_modelopt(given: Json) -> str:
    """One name for several methods: what vLLM calls each by its `quant_algo`.

    https://github.com/vllm-project/vllm/blob/main/vllm/model_executor/layers/quantization/modelopt.py
    """
    return next((name for part, name in _MODELOPT if part in _algorithm(given)), "modelopt")


def _algorithm(given: Json) -> str:
    nested = given.get("quantization")
    return str(given.get("quant_algo") or (nested.get("quant_algo") if isinstance(nested, dict) else "") or "").upper()


def check_quantization(files: Files, config: Json, expected: Expectation) -> None:
    """That the version reads the weights as they are, and that the spec says nothing else of them.

    Raises:
        SourceFault: the engine would not start.
    """
    method = find_method(files, config)
    wanted = expected.quantization.lower() if expected.quantization else None
    if method is not None:
        _check_readable(method, files, expected)
    if wanted is None or wanted == method:
        return
    if method is not None and method in _FOREIGN and wanted not in _KERNELS.get(method, frozenset()):
        raise not_servable(
            f"{_FIELD} {wanted} contradicts config.json {files.where}, whose weights are quantised with {method}: "
            "leave the field out"
        )
    if method is None and wanted in _NEED_QUANTISED and not any(name in files for name in _SIDE_FILES):
        raise not_servable(
            f"{_FIELD} {wanted} wants weights that are quantised so, and config.json {files.where} says that these are "
            "not: take such weights, or leave the field out"
        )


def _check_readable(method: str, files: Files, expected: Expectation) -> None:
    if method in expected.deprecated_quantizations:
        raise not_servable(
            f"the weights {files.where} are quantised with {method}, which vLLM {expected.vllm} calls deprecated and "
            "refuses: write spec.engine.extraArgs.allow_deprecated_quantization: true, or choose other weights"
        )
    readable = expected.quantization_methods
    if not readable or _ALIASES.get(method, method) in readable or method in readable or method not in _FOREIGN:
        return
    raise not_servable(
        f"the weights {files.where} are quantised with {method}, which {_reader(expected)} does not read; "
        f"it reads {', '.join(readable)}"
    )


def _reader(expected: Expectation) -> str:
    version = f"vLLM {expected.vllm}" if expected.vllm else "this vLLM"
    return f"{version} on {expected.gpu}" if expected.gpu else version
