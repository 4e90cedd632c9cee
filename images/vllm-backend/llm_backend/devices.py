"""Which GPUs an instance of a model may see, as NVIDIA's backend has it. Pure.

The operator always writes KIND_MODEL and leaves the GPUs to Kubernetes; this is for repositories written by hand.
"""

GPU_DEVICE_IDS = "GPU_DEVICE_IDS"
"""A parameter of config.pbtxt: the GPUs of an instance of KIND_MODEL, as `0,1`."""


def choose_devices(kind: str, instance_device: int, device_ids: str, gpus: int) -> str | None:
    """The value of CUDA_VISIBLE_DEVICES; None to leave it as it is.

    Args:
        kind: the instance group's kind: GPU, MODEL or CPU.
        instance_device: the GPU that Triton chose for the instance.
        device_ids: the parameter GPU_DEVICE_IDS; empty if it is not given.
        gpus: that the engine needs, tensor times pipeline parallel.

    Raises:
        ValueError: kind or parameter do not fit the number of GPUs; the text names the fix.
    """
    if kind == "GPU":
        if gpus > 1:
            raise ValueError(
                "KIND_GPU is currently for single-GPU models, please specify KIND_MODEL in the model's config.pbtxt "
                "for multi-GPU models"
            )
        return str(instance_device) if instance_device >= 0 else None
    if kind != "MODEL" or not device_ids:
        return None
    try:
        ids = [int(part) for part in device_ids.split(",")]
    except ValueError as error:
        raise ValueError(f"{GPU_DEVICE_IDS} {device_ids!r} is no list of numbers as 0,1") from error
    if min(ids) < 0 or len(set(ids)) < len(ids):
        raise ValueError(f"{GPU_DEVICE_IDS} {device_ids!r} must name different GPUs from 0 on")
    if gpus > 1 and len(ids) != gpus:
        raise ValueError(f"{GPU_DEVICE_IDS} {device_ids!r} names {len(ids)} GPUs; the engine needs {gpus}")
    return ",".join(map(str, ids))
