"""How the program stops at what is wrong."""

from triton_vllm_operator.api.reasons import Reason


class SourceFault(Exception):
    """A source cannot be served, and trying again does not help."""

    def __init__(self, reason: Reason, message: str, volume: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.volume = volume
        """Of the source; None until it is known which one is spoken of."""


class TryAgain(Exception):
    """A source could not be had now; what hinders may pass."""


def not_servable(message: str) -> SourceFault:
    """The files are not those of a model that vLLM generates with."""
    return SourceFault(Reason.MODEL_NOT_SERVABLE, message)
