"""Texts of failing engines, servers and nodes that others have published: the text, its name, and what is told of it.

Where each was seen stands in health/failures/signatures.yaml.
"""
# ruff: noqa: E501 (texts stand as they were written)

MORE_TEXTS = (
    (
        "Error: UtilizationTooHigh: 0.999 of GPU 0 is 139.7 GiB, and of an empty one 139.2 GiB can be had: at most 0.995",
        "UtilizationTooHigh",
        "0.999 of GPU 0 is 139.7 GiB, and of an empty one 139.2 GiB can be had",
    ),
    (
        "ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (969).",
        "TooManySequences",
        "states of 969 sequences, and 1024 may run",
    ),
    (
        "Free memory on device (31.44/47.38 GiB) on startup is less than desired GPU memory utilization (0.95, 45.01 GiB)",
        "GpuMemoryTaken",
        "asks for 45.01 GiB of the GPU's 47.38 GiB, and 31.44 GiB were free",
    ),
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 86.00 MiB. GPU 0 has a total capacty of 21.67 GiB "
        "of which 4.06 MiB is free. Process 2417585 has 21.65 GiB memory in use.",
        "CudaOutOfMemory",
        "process 2417585 of its node holds 21.65 GiB of it",
    ),
    ("RuntimeError: Triton Error [CUDA]: out of memory", "CudaOutOfMemory", "more memory of the GPU than was free"),
    (
        "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.cpp:77, unhandled cuda error (run with "
        "NCCL_DEBUG=INFO for details), NCCL version 2.26.2\nLast error:\nCuda failure 2 'out of memory'",
        "CudaOutOfMemory",
        "more memory of the GPU",
    ),
    ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "GpuMemoryTaken", "by another process alone"),
    (
        "HfHubHTTPError: 429 Too Many Requests: you have reached your 'api' rate limit.",
        "HubRateLimited",
        "no more requests",
    ),
    ("HTTP status client error (429 Too Many Requests) for url", "HubRateLimited", "no more requests"),
    (
        "Error while deserializing header: InvalidHeaderDeserialization",
        "ModelFilesDamaged",
        "a file of weights is none",
    ),
    ("safetensors_rust.SafetensorError: HeaderTooSmall", "ModelFilesDamaged", "a file of weights is cut off"),
    ("KeyError: 'layers.35.mlp.gate.g_idx'", "CheckpointMismatch", "the files hold layers.35.mlp.gate.g_idx"),
    (
        "ValueError: There is no module or parameter named 'mlp_AR' in TransformersForCausalLM",
        "CheckpointMismatch",
        "the files hold mlp_AR, which",
    ),
    (
        "ValueError: Tokenizer class TokenizersBackend does not exist or is not currently imported.",
        "RuntimeTooOld",
        "does not read the tokenizer of this model (TokenizersBackend)",
    ),
    (
        "ValueError: GGUF model with architecture minimax-m2 is not supported yet.",
        "UnsupportedArchitecture",
        "reads no GGUF files of minimax-m2",
    ),
    (
        "ValueError: The output_size of gate's and up's weight = 192 is not divisible by weight quantization block_n = 128.",
        "QuantGroupAgainstTp",
        "has 192 rows or columns, no multiple of 128",
    ),
    (
        "ValueError: Weight input_size_per_partition = 7392 is not divisible by min_thread_k = 128.",
        "QuantGroupAgainstTp",
        "has 7392 rows or columns, no multiple of 128",
    ),
    ("AssertionError: 12 is not divisible by 8", "HeadsAgainstTp", "8 ranks cannot share out a layer of 12"),
    (
        "ValueError: Quantization method specified in the model config (gptq) does not match the quantization method "
        "specified in the `quantization` argument (gptq_marlin).",
        "QuantizationMismatch",
        "told to read gptq_marlin, and the files hold gptq",
    ),
    (
        "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=576, "
        "dtype=torch.bfloat16). Reasons: {}",
        "NoAttentionBackend",
        "(head_size=576, dtype=torch.bfloat16 ...)",
    ),
    (
        "ValueError: User-specified max_model_len (131072) is greater than the derived max_model_len "
        "(max_position_embeddings=32768.0 or model_max_length=None in model's config.json).",
        "MaxModelLenOverModel",
        "the model knows 32768 tokens, and spec.engine.maxModelLen asks for 131072",
    ),
    (
        "ValueError: Chunked MM input disabled but max_tokens_per_mm_item (2496) is larger than max_num_batched_tokens "
        "(512). Please increase max_num_batched_tokens.",
        "ArgumentInvalid",
        "one picture takes 2496 tokens, and a step of the engine has 512",
    ),
    (
        "Failed to initialize Python stub: TypeError: build_async_engine_client_from_engine_args() got an unexpected "
        "keyword argument 'stat_loggers'",
        "ImageIncomplete",
        "do not go together",
    ),
    ("Invalid argument: unable to find backend library for backend 'vllm'", "ImageIncomplete", "no backend vllm"),
    ("ImportError: Please install bitsandbytes>=0.45.0 via pip", "ImageIncomplete", "needs the package bitsandbytes"),
    ("ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'", "ImageLacksGpuArch", "no kernels"),
    ("Error 804: forward compatibility was attempted on non supported HW", "DriverTooOld", "takes no newer libraries"),
    ("Error 802: system not yet initialized", "GpuUnhealthy", "Fabric Manager does not run"),
    (
        "nvidia-container-cli: device error: no-gpu-has-128MiB-to-run: unknown device",
        "NoGpuInContainer",
        "(device error: no-gpu-has-128MiB-to-run: unknown device)",
    ),
    ("uncorrectable NVLink error detected during the execution", "GpuFaulty", "cannot correct (NVLink)"),
    ("CUDA error: device-side assert triggered", "GpuFault", "device-side assert triggered"),
    ("CUDA error: unspecified launch failure", "GpuFault", "unspecified launch failure"),
    (
        "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/mig-1g.5gb, "
        "which is unexpected",
        "GpuUnhealthy",
        "all nvidia.com/mig-1g.5gb of the node are unhealthy",
    ),
    ("Allocate failed due to rpc error: nvml: GPU is lost, which is unexpected", "GpuUnhealthy", "fell off the bus"),
    (
        "Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:164 'invalid argument'\nERROR Worker proc VllmWorker-0 "
        "died unexpectedly (exit code: None), shutting down executor.",
        "NcclFailed",
        "own way for GPUs to talk to each other failed (invalid argument)",
    ),
    (
        "NCCL WARN Error while creating shared memory segment /dev/shm/nccl-Ewjreo (size 33030528), error: No space left "
        "on device (28)\ntorch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:268, unhandled system error",
        "SharedMemoryTooSmall",
        "/dev/shm of the container is full",
    ),
    ("failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes", "SharedMemoryTooSmall", "/dev/shm"),
    ('Usage of EmptyDir volume "shm" exceeds the limit "1Gi".', "SharedMemoryTooSmall", "/dev/shm"),
    ("OSError: [Errno 98] Address already in use", "PortTaken", "is taken"),
    ("failed to start GRPC service: Unavailable - Socket '0.0.0.0:5001' already in use", "PortTaken", "is taken"),
    (
        "OSError: [Errno 30] Read-only file system: '/root/.cache/flashinfer'",
        "NoWritableHome",
        "may not write /root/.cache/flashinfer; the container may write to /tmp",
    ),
    (
        "PermissionError: [Errno 13] Permission denied: '/usr/lib/python3/flashinfer_cubin/cubins/flashinfer'\nERROR "
        "Worker proc VllmWorker-6 died unexpectedly, shutting down executor.",
        "NoWritableHome",
        "flashinfer_cubin",
    ),
    ("/bin/sh: 1: /usr/local/cuda/bin/nvcc: not found", "NoCompilerInImage", "has no compiler"),
    (
        "RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore': -9}",
        "EngineDead",
        "was killed",
    ),
    (
        "ERROR Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down executor.",
        "EngineDead",
        "was killed, most often",
    ),
    ("TimeoutError: Timed out waiting for engine core processes to start.", "EngineDead", "took longer to start"),
    ("Failed to initialize stub, stub process exited unexpectedly: llama_0_0", "StubDead", "ended"),
)
