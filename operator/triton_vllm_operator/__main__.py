"""`python -m triton_vllm_operator`: run the operator."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from typing import Final

from triton_vllm_operator import __version__
from triton_vllm_operator.controller.lease import LeaseLost
from triton_vllm_operator.controller.logs import configure_logging
from triton_vllm_operator.controller.process import run
from triton_vllm_operator.controller.settings import Settings, settings_from_process
from triton_vllm_operator.repository.catalogue import Catalogue, load_catalogue, read_policy

# Fields that hold any JSON (extraArgs, affinity) may nest as deep as the API server reads: ten thousand levels. What
# Python refuses to parse would otherwise end the process for every LLMDeployment.
_DEEPEST_JSON: Final = 50_000

_YOUNG_OBJECTS: Final = 50_000


def _collect_seldom() -> None:
    """Spare the collector the modules, and let it look at younger objects seldom: hardly any of ours lie in cycles.

    Measured: a seventh of the processor seconds of a start with 1,000 LLMDeployments (`make bench`).
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def main() -> int:
    """Run until a signal; the exit code."""
    sys.setrecursionlimit(_DEEPEST_JSON)
    _collect_seldom()
    try:
        settings = settings_from_process()
        catalogue = load_catalogue(settings.catalogue, read_policy(settings.policy))
    except (ValueError, OSError) as error:
        print(f"the operator's settings (TRITON_VLLM_OPERATOR_...) are invalid: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level)
    logging.getLogger(__name__).info("triton-vllm-operator %s", __version__)
    if settings.kubeconfig is not None:
        os.environ["KUBECONFIG"] = str(settings.kubeconfig)
    return _run(settings, catalogue)


def _run(settings: Settings, catalogue: Catalogue) -> int:
    code = 0
    with contextlib.suppress(asyncio.CancelledError):
        try:
            asyncio.run(run(settings, catalogue))
        except* LeaseLost as lost:
            # Its container is started again, and waits for its turn.
            logging.getLogger(__name__).warning("ending: %s", lost.exceptions[0])
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
