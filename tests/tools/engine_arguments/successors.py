"""What to write in place of what vLLM took away. By hand, from its release notes and source."""

Successor = str | dict[str, str]
"""What to write; by the version since which it is so, where that has changed."""

ARGUMENTS: dict[str, Successor] = {
    "block_manager_version": "",
    "calculate_kv_scales": "the scales of a quantised KV cache come with the checkpoint",
    "cuda_graph_sizes": "write cudagraph_capture_sizes",
    "device": "the runtime's image decides it",
    "disable_log_requests": "requests are not logged unless enable_log_requests is true",
    "disable_mm_preprocessor_cache": "write mm_processor_cache_gb: 0",
    "enable_lora_bias": "",
    "enable_reasoning": "write reasoning_parser",
    "eplb_log_balancedness": "write eplb_config: {log_balancedness: ...}",
    "eplb_step_interval": "write eplb_config: {step_interval: ...}",
    "eplb_window_size": "write eplb_config: {window_size: ...}",
    "guided_decoding_backend": "write structured_outputs_config: {backend: ...}",
    "guided_decoding_disable_additional_properties": (
        "write structured_outputs_config: {disable_additional_properties: ...}"
    ),
    "guided_decoding_disable_any_whitespace": "write structured_outputs_config: {disable_any_whitespace: ...}",
    "guided_decoding_disable_fallback": "",
    "max_context_len_to_capture": "write max_cudagraph_capture_size",
    "max_seq_len_to_capture": "write max_cudagraph_capture_size",
    "mm_preprocessor_kwargs": "write mm_processor_kwargs",
    "ngram_prompt_lookup_max": "write spec.engine.speculativeConfig",
    "ngram_prompt_lookup_min": "write spec.engine.speculativeConfig",
    "num_redundant_experts": "write eplb_config: {num_redundant_experts: ...}",
    "num_speculative_tokens": "write spec.engine.speculativeConfig",
    "override_pooler_config": "write pooler_config",
    "rope_scaling": {
        "0.11.1": "write hf_overrides: {rope_scaling: ...}",
        "0.12.0": (
            "write hf_overrides: {max_position_embeddings: 32768, rope_parameters: {rope_type: yarn, "
            "rope_theta: 10000.0, factor: 4.0, original_max_position_embeddings: 8192}}, with the lengths and the "
            "rope_theta of the model"
        ),
    },
    "rope_theta": {
        "0.11.1": "write hf_overrides: {rope_theta: ...}",
        "0.12.0": "write hf_overrides: {rope_parameters: {rope_type: default, rope_theta: 10000.0}}, with your value",
    },
    "speculative_draft_tensor_parallel_size": "write spec.engine.speculativeConfig",
    "speculative_model": "write spec.engine.speculativeConfig",
    "swap_space": "",
    "task": "write runner or convert",
    "worker_use_ray": "one pod is one engine on the GPUs of one node",
}

ENVIRONMENT: dict[str, Successor] = {
    "VLLM_ALL2ALL_BACKEND": "write spec.engine.extraArgs.all2all_backend",
    "VLLM_FLASH_ATTN_VERSION": "write spec.engine.extraArgs.attention_config: {flash_attn_version: 3}",
    "VLLM_ATTENTION_BACKEND": "write spec.engine.extraArgs.attention_backend",
}
