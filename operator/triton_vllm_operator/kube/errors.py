"""What the API server answers when it does not do what it was asked."""


class ApiError(Exception):
    """The API server refused a request, or could not be reached within all tries.

    `status` is the HTTP status, 0 when there was no answer.
    """

    def __init__(self, status: int, what: str, message: str) -> None:
        super().__init__(f"{what}: {message}" if status == 0 else f"{what}: HTTP {status}: {message}")
        self.status = status
        self.message = message


class Refused(ApiError):
    """The request itself is wrong for this cluster (400, 403, 422): trying it again at once helps nothing."""


class Conflict(ApiError):
    """Another object has this name than the one that was meant (409)."""


class Unavailable(ApiError):
    """No answer, or one that may be another in a moment (429, 5xx)."""

    retry_after: float | None = None
    """The server's own word, in seconds, on when to come back."""


class Gone(ApiError):
    """The object is not there (404), or its namespace is on its way out (403)."""


_NAMESPACE_GOING = "because it is being terminated"
_TYPED_PATCH = "failed to create typed patch object"
"""How the API server says, with HTTP 500, that an applied manifest does not fit the schema of its kind:
https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/apiserver/pkg/endpoints/handlers/patch.go"""


def error_for(status: int, what: str, message: str) -> ApiError:
    """The error that stands for an HTTP status."""
    if status in (404, 410) or (status == 403 and _NAMESPACE_GOING in message):
        return Gone(status, what, message)
    if status == 409:
        return Conflict(status, what, message)
    if status in (400, 403, 422) or _TYPED_PATCH in message:
        return Refused(status, what, message)
    return Unavailable(status, what, message)
