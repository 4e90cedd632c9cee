"""The log: one JSON object a line, and an error only where somebody must act."""

import logging

import kopf


def configure_logging(level: str) -> None:
    """Log to standard error from this level on."""
    kopf.configure(log_format=kopf.LogFormat.JSON)
    logging.getLogger().setLevel(level)
    # kopf tells of every event that was handled: at INFO that is more than all the rest.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(soften)


def soften(record: logging.LogRecord) -> bool:
    """A request that kopf tries again without end is no error: with the API server away there are six a second."""
    if record.levelno == logging.ERROR and "; will retry: " in record.getMessage():
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
