"""What to write in place of what vLLM took away. By hand, from its release notes and source."""

ARGUMENTS = {
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
    "rope_scaling": "write hf_overrides: {rope_scaling: ...}",
    "rope_theta": "write hf_overrides: {rope_theta: ...}",
    "speculative_draft_tensor_parallel_size": "write spec.engine.speculativeConfig",
    "speculative_model": "write spec.engine.speculativeConfig",
    "swap_space": "",
    "task": "write runner or convert",
    "worker_use_ray": "one pod is one engine on the GPUs of one node",
}

ENVIRONMENT = {
    "VLLM_ATTENTION_BACKEND": "write spec.engine.extraArgs.attention_backend",
}
