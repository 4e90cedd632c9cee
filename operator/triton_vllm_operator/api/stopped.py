"""That no pod is kept, since each would end as those before it did."""

from typing import Final

from pydantic import Field

from triton_vllm_operator.api.base import ApiModel
from triton_vllm_operator.api.times import TIME_LENGTH

LONGEST_REASON: Final = 512


class StoppedStatus(ApiModel):
    """Why no pod is kept. Another revision, or a restart of the Deployment, tries again."""

    revision: str = Field(max_length=253, description="ControllerRevision whose pods ended.")
    reason: str = Field(max_length=64, description="What they ended with, as HeadsAgainstTp.")
    message: str = Field(max_length=LONGEST_REASON, description="The same in a sentence, with what helps.")
    time: str = Field(max_length=TIME_LENGTH, description="Since when, in UTC.")
    restarted_at: str | None = Field(
        None,
        max_length=64,
        description="The restart of the Deployment that was the last one then; another tries again.",
    )
