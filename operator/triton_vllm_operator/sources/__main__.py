"""`python -m triton_vllm_operator.sources TASKS`: fetch and check, report in the termination message.

Exit codes: 0 all sources are good, 3 one is not and trying again does not help, 1 try again.
"""

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.sources.fault import SourceFault, TryAgain
from triton_vllm_operator.sources.program import run
from triton_vllm_operator.sources.report import EXIT_FAULT, EXIT_TRY_AGAIN, Fault, Report, fault_report
from triton_vllm_operator.sources.task import PROGRAMS_VARIABLE, TaskList

_MESSAGE_FILE: Final = Path("/dev/termination-log")
_PROGRAMS: Final = ("wait_for_gpu.py", "compile_cache.py")
"""What the serving container runs before the server."""


def main(arguments: list[str], message_file: Path = _MESSAGE_FILE) -> int:
    """Do the tasks of the one argument; the exit code."""
    # Process 1 of a container has no default for it, and what was fetched so far stays.
    signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(128 + number))
    if folder := os.environ.get(PROGRAMS_VARIABLE):
        for program in _PROGRAMS:
            shutil.copy(Path(__file__).with_name(program), folder)
    code, report = _report(TaskList.model_validate_json(arguments[0]))
    message_file.write_text(report.dump())
    _say(report.fault.message if report.fault else "done")
    return code


def _report(tasks: TaskList) -> tuple[int, Report]:
    try:
        return 0, run(tasks, _say)
    except SourceFault as fault:
        return EXIT_FAULT, fault_report(Fault(reason=fault.reason, message=str(fault), volume=fault.volume))
    except TryAgain as error:
        return EXIT_TRY_AGAIN, fault_report(Fault(reason=Reason.MODEL_FETCH_FAILED, message=str(error)))
    except Exception as error:  # whatever a hub or a file does, the status must not be silent about it
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        return EXIT_TRY_AGAIN, fault_report(Fault(reason=Reason.MODEL_FETCH_FAILED, message=message))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
