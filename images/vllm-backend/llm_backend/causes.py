"""Why processes of the engine end: their errors stand in a file, in which the process that started them looks.

To its caller vLLM says "Engine core initialization failed. See root cause above" alone; the cause is in the log of
another process.
"""

import contextlib
import logging
import re
import tempfile
from pathlib import Path

ERRORS = Path(tempfile.gettempdir()) / "engine-errors.log"
_NAME = "engine-errors"
_LIMIT = 2**20
_CAUSE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)(?::.*)?$", re.MULTILINE)
_WRAPPERS = ("Engine core initialization failed", "WorkerProc initialization failed", "failed to be inspected")
"""They say that another process failed."""


class _Errors(logging.FileHandler):
    """A file of bounded size, without which everything goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            if not ERRORS.exists() or ERRORS.stat().st_size < _LIMIT:
                super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """A cause that cannot be kept keeps nothing else from being logged."""


def keep_errors() -> None:
    """Keep what vLLM logs as errors in this process.

    vLLM calls it in each of its processes (the entry point vllm.general_plugins); one that is forked has it already.
    """
    logger = logging.getLogger("vllm")
    if any(handler.get_name() == _NAME for handler in logger.handlers):
        return
    handler = _Errors(ERRORS, delay=True)
    handler.set_name(_NAME)
    handler.setLevel(logging.ERROR)
    logger.addHandler(handler)


def forget_errors() -> None:
    """Begin anew: a container may start more than once."""
    with contextlib.suppress(OSError):
        ERRORS.unlink(missing_ok=True)


def find_cause() -> str:
    """The first error of any process that is no other's echo; empty if there is none."""
    try:
        text = ERRORS.read_text(errors="replace")
    except OSError:
        return ""
    lines = (found.group() for found in _CAUSE.finditer(text))
    return next((line for line in lines if not any(wrapper in line for wrapper in _WRAPPERS)), "")
