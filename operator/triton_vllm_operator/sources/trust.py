"""Certificate authorities that a repository is trusted by, beside the public ones."""

import os
import ssl
import tempfile
from pathlib import Path
from typing import Final

from huggingface_hub import close_session

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.fault import SourceFault
from triton_vllm_operator.sources.task import CA_BUNDLE_VARIABLE, Repository

_FILE_VARIABLE: Final = "SSL_CERT_FILE"
_CHART_VALUE: Final = "the chart's fetch.caBundle"
_FIELD: Final = "huggingFace.caConfigMapRef"


def trust_authorities(repository: Repository) -> None:
    """Let the hub's library trust the administrator's and the repository's own authorities from now on.

    Raises:
        SourceFault: one of them holds no certificate in PEM form.
    """
    given = {_CHART_VALUE: CA_BUNDLE_VARIABLE, _FIELD: repository.ca_variable or ""}
    bundles = {name: text for name, variable in given.items() if (text := os.environ.get(variable, "").strip())}
    for name, text in bundles.items():
        _check(name, text)
    # The library keeps its connections, and those that it opens read this variable.
    close_session()
    if not bundles:
        os.environ.pop(_FILE_VARIABLE, None)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write("\n".join([_public(), *bundles.values()]) + "\n")
    os.environ[_FILE_VARIABLE] = file.name


def _check(name: str, text: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise SourceFault(Reason.MODEL_FETCH_FAILED, f"{name} holds no certificates in PEM form: {error}") from error


def _public() -> str:
    file = ssl.get_default_verify_paths().openssl_cafile
    return Path(file).read_text() if Path(file).is_file() else ""
