"""Where an engine keeps what it compiles, so that the next start need not."""

from pydantic import Field

from triton_vllm_operator.api.base import ApiModel, ObjectName


class CacheClaim(ApiModel):
    """A volume of the user's own that the serving pods write to."""

    claim_name: ObjectName = Field(
        description="PersistentVolumeClaim of this namespace, on a POSIX file system; pods on several nodes share it "
        "if it is ReadWriteMany. What lies there is run: nobody else may write to it.",
    )


class CompileCache(ApiModel):
    """Compiled kernels and graphs of vLLM, torch, Triton and FlashInfer, and vLLM's start plan."""

    persistent_volume_claim: CacheClaim = Field(description="The volume that keeps them.")
