"""How near plans come to what engines allocated: `python -m perf.memory`, without a GPU, from recorded starts."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from gpu.processors import load_processors
from support.checkpoints import make_draft, make_tensors
from support.configs import overlaid
from triton_vllm_operator.api.engine import Engine
from triton_vllm_operator.memory.methods import find_method
from triton_vllm_operator.memory.plan import Plan, make_plan
from triton_vllm_operator.memory.runner import choose_runner
from triton_vllm_operator.memory.seeing import find_uncounted_seeing, read_seeing
from triton_vllm_operator.memory.settings import Drafter, EngineSettings, Gpu
from triton_vllm_operator.memory.versions import GIB
from triton_vllm_operator.sources.draft_reader import read_draft
from triton_vllm_operator.sources.shape import DraftShape, ModelShape
from triton_vllm_operator.sources.shape_reader import read_shape
from triton_vllm_operator.sources.vision import IMAGE_PROCESSOR, NOTHING_SAID, VIDEO_PROCESSOR, Sizes

STARTS: Final = Path(__file__).with_name("starts")


@dataclass(frozen=True, slots=True)
class Start:
    """A recorded start and the plan that would have been made for it."""

    name: str
    plan: Plan
    weights_gib: float
    cache_gib: float
    tokens: int | None
    """None where they were not recorded: then the cache's bytes count."""

    @property
    def error(self) -> float:
        """Of the tokens, as a part of what the engine said."""
        if self.tokens is None:
            return self.plan.cache.expected / GIB / self.cache_gib - 1
        return self.plan.tokens.expected / self.tokens - 1

    @property
    def weights_error(self) -> float:
        """Of the weights, in the same way."""
        return self.plan.weights / GIB / self.weights_gib - 1

    @property
    def is_within(self) -> bool:
        """Whether the range holds what the engine said."""
        if self.tokens is None:
            return self.plan.cache.low <= self.cache_gib * GIB <= self.plan.cache.high
        return self.plan.tokens.low <= self.tokens <= self.plan.tokens.high


def load_starts(*files: str) -> tuple[Start, ...]:
    """The recorded starts of these files, all without any."""
    models = yaml.safe_load((STARTS / "models.yaml").read_text())
    paths = [STARTS / file for file in files] or sorted(p for p in STARTS.glob("*.yaml") if p.name != "models.yaml")
    recorded = [yaml.safe_load(path.read_text()) for path in paths]
    rows = [{**each["defaults"], **row} for each in recorded for row in each["starts"]]
    # A start that failed, or was ended before it said everything, is no measure; what is not counted has no plan.
    told = (row for row in rows if "cache" in row and "weights" in row)
    return tuple(_plan(row, models) for row in told if not find_uncounted_seeing(row.get("arguments", {})))


def read_model(config: dict[str, Any], sizes: Sizes = NOTHING_SAID) -> ModelShape:
    """The shape of a recorded model; `sizes` is what its processor says of images.

    Raises:
        ValueError: it was not understood.
    """
    shape = read_shape(config, make_tensors(config), sizes)
    if isinstance(shape, str):
        raise ValueError(shape)
    return shape


def sizes_of(model: str) -> Sizes:
    """What the processor of a recorded model says of images."""
    files = load_processors().get(model, {}).get("files", {})
    return Sizes(files.get(IMAGE_PROCESSOR, {}), files.get(VIDEO_PROCESSOR, {}))


def _read_draft(config: dict[str, Any]) -> DraftShape:
    draft = read_draft(config, make_draft(config))
    if isinstance(draft, str):
        raise ValueError(draft)
    return draft


def _plan(row: dict[str, Any], models: dict[str, dict[str, Any]]) -> Start:
    shape = read_model(overlaid(models[row["model"]], row.get("config", {})), sizes_of(row["model"]))
    if "draft" in row:
        shape = shape.model_copy(update={"draft": _read_draft({**models[row["draft"]], **row.get("draft_config", {})})})
    guessing = {"method": row["method"], "numSpeculativeTokens": row["guesses"]} if "method" in row else None
    engine = Engine.model_validate({"speculativeConfig": guessing} if guessing else {})
    method = find_method(engine.speculative_config, shape.draft)
    settings = EngineSettings(
        vllm=row["vllm"],
        runner=choose_runner(shape, engine, row.get("environment", {}), row["vllm"]),
        drafter=(method.drafter if method else None) or Drafter.NONE,
        guesses=row.get("guesses", 0),
        utilization=row["utilization"],
        tensor_ranks=row.get("tensor", 1),
        pipeline_ranks=row.get("pipeline", 1),
        cache_bytes=row.get("cache_bytes", 2),
        sequences=row.get("sequences"),
        batched_tokens=row.get("batched"),
        is_eager=row.get("eager", False),
        adapters=row.get("adapters", 0),
        adapter_rank=row.get("rank", 0),
        quantises=row.get("quantises", False),
        caches_prefixes=row.get("arguments", {}).get("enable_prefix_caching"),
        seeing=read_seeing(row.get("arguments", {})),
    )
    gpu = Gpu(row["gpu"]["product"], int(row["gpu"]["gib"] * GIB))
    plan = make_plan(shape, settings, gpu, row["length"])
    ranks = f" TP{settings.tensor_ranks}" * (settings.tensor_ranks > 1) + f" PP{settings.pipeline_ranks}" * (
        settings.pipeline_ranks > 1
    )
    batch = f" s{row.get('sequences', '-')} b{row.get('batched', '-')} {settings.runner.value}"
    batch += f" {row['method']}" if "method" in row else ""
    return Start(f"{row['model']}{ranks} {row['vllm']}{batch}", plan, row["weights"], row["cache"], row.get("tokens"))


def main() -> int:
    """Print the table."""
    starts = load_starts(*sys.argv[1:])
    for start in starts:
        plan = start.plan
        width = (plan.cache.high - plan.cache.low) / plan.cache.expected
        print(
            f"{start.name:46} weights {plan.weights / GIB:6.2f} {start.weights_error:+7.2%}  "
            f"cache {plan.cache.expected / GIB:6.2f} ({start.cache_gib:6.2f})  "
            f"tokens {plan.tokens.expected:>9,} {start.error:+7.2%}  within {start.is_within}  range {width:.1%}"
        )
    errors = [abs(start.error) for start in starts]
    print(f"{len(starts)} starts: mean absolute error {sum(errors) / len(errors):.2%}, worst {max(errors):.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
