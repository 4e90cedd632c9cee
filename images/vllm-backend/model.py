"""The module that Triton loads for `backend: "vllm"`."""

import locale
import os
import site
import sys
from pathlib import Path

# Triton's stub starts Python isolated: PYTHONPATH, the virtual environment and the locale are not taken
# over, so text files would be read as ASCII and nothing but the standard library would be found.
locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
sys.path.insert(0, str(Path(__file__).parent))
if environment := os.environ.get("VIRTUAL_ENV"):
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site.addsitedir(f"{environment}/lib/{version}/site-packages")
    sys.executable = f"{environment}/bin/python"

from llm_backend.model import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
