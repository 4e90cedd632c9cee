"""triton-vllm-operator: reconciles LLMDeployments into Triton + vLLM pods."""

__version__ = "0.1.0"
