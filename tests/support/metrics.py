"""What Triton's metrics port says."""

from support.generate import send


def read_metrics(port: int, model: str) -> dict[str, float]:
    """vLLM's metrics of one model by their names, without the buckets of histograms."""
    _, text = send(port, "/metrics", None)
    labels = f'{{model="{model}",version="1"}} '
    lines = (line.removeprefix("vllm:").split(labels) for line in text.splitlines() if line.startswith("vllm:"))
    return {line[0]: float(line[1]) for line in lines if len(line) == 2}
