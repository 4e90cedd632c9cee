"""The vLLM engine, in an event loop and a thread of its own."""

import asyncio
import functools
import threading
from typing import Any
from uuid import uuid4

import triton_python_backend_utils as pb_utils
import uvloop
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from llm_backend.adapters import Adapters
from llm_backend.causes import keep_errors
from llm_backend.contract import GenerateRequest, describe
from llm_backend.metrics import TritonMetrics, create_metrics
from llm_backend.outbox import Outbox
from llm_backend.prompts import render_prompt
from llm_backend.responses import ResponseThread
from llm_backend.sampling import build_sampling_params
from llm_backend.stat_logger import TritonStatLogger

_LOOK_SECONDS = 0.5
"""Between two looks at whether the engine lives."""


class Engine:
    """Starts vLLM, feeds it requests and hands its outputs to the response thread."""

    def __init__(
        self, arguments: dict[str, object], adapters: Adapters, model: str, version: str, report_metrics: bool
    ) -> None:
        self._adapters = adapters
        self._metrics: TritonMetrics | None = None
        self._loop = uvloop.new_event_loop()
        self._responses = ResponseThread(self._loop.call_soon)
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-loop", daemon=True)
        self._thread.start()
        # The context decides vLLM's batching defaults; NVIDIA's backend takes the API server's as well.
        context = UsageContext.OPENAI_API_SERVER
        engine_args = AsyncEngineArgs(**arguments)

        async def start() -> AsyncLLM:
            config = engine_args.create_engine_config(context)
            # After vLLM has set up its loggers, and before it forks.
            keep_errors()
            if report_metrics and not engine_args.disable_log_stats:
                self._metrics = create_metrics(model, version, config.model_config.max_model_len)
            loggers = [self._stat_logger] if self._metrics else None
            return AsyncLLM.from_vllm_config(
                config,
                usage_context=context,
                stat_loggers=loggers,
                enable_log_requests=engine_args.enable_log_requests,
                disable_log_stats=engine_args.disable_log_stats,
            )

        self._engine = asyncio.run_coroutine_threadsafe(start(), self._loop).result()
        self._death_watch = asyncio.run_coroutine_threadsafe(self._tell_death(), self._loop)
        # Of requests that are under way, by their ids; the event loop's own.
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def _tell_death(self) -> None:
        """Say that the engine is dead once it is: vLLM notices when its process ends."""
        if self._metrics is None:
            return
        while not self.is_dead:  # noqa: ASYNC110 - vLLM tells nobody
            await asyncio.sleep(_LOOK_SECONDS)
        self._metrics.tell_death()

    def _stat_logger(self, _config: Any, _index: int = 0) -> TritonStatLogger:
        assert self._metrics is not None
        return TritonStatLogger(self._metrics)

    @property
    def is_dead(self) -> bool:
        """Whether vLLM has noticed that its engine's process has ended."""
        return bool(self._engine.errored)

    def _settle_metrics(self) -> None:
        if self._metrics is not None:
            self._metrics.settle()

    def submit(self, request: GenerateRequest, sender: Any) -> None:
        """Start to generate; the responses go through `sender`."""
        request_id = uuid4().hex
        cancel = functools.partial(self._loop.call_soon_threadsafe, self._cancel, request_id)
        outbox = Outbox(request, sender, cancel, self._settle_metrics)
        self._loop.call_soon_threadsafe(self._start, request, request_id, outbox)
        self._responses.accept(outbox)

    def _start(self, request: GenerateRequest, request_id: str, outbox: Outbox) -> None:
        task = self._loop.create_task(self._generate(request, request_id, outbox))
        self._tasks[request_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(request_id))

    def _cancel(self, request_id: str) -> None:
        if (task := self._tasks.get(request_id)) is not None:
            task.cancel()

    async def _generate(self, request: GenerateRequest, request_id: str, outbox: Outbox) -> None:
        try:
            adapter = self._adapters.choose(request.adapter)
            sampling = build_sampling_params(request.sampling, request.stream)
            prompt = await render_prompt(self._engine, request)
            async for output in self._engine.generate(prompt, sampling, request_id, lora_request=adapter):
                self._responses.offer(outbox, output)
        except asyncio.CancelledError:
            # generate() ends what it has begun, but not what it was about to begin.
            await self._engine.abort(request_id)
            raise
        except Exception as error:  # whatever it was, the client must get an answer
            pb_utils.Logger.log_info(f"[vllm] {describe(error)}")
            self._responses.offer(outbox, error=describe(error))

    def stop(self) -> None:
        """End the engine, then everything that served it. Triton calls it when no request is left."""
        self._death_watch.cancel()
        self._loop.call_soon_threadsafe(self._engine.shutdown)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._responses.stop()
        if self._metrics is not None:
            self._metrics.stop()
