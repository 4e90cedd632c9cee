"""Configurations with changes laid over them."""

from typing import Any

Config = dict[str, Any]


def overlaid(config: Config, changes: Config) -> Config:
    """The configuration with these changes, part by part."""
    parts = {key: overlaid(config[key], value) for key, value in changes.items() if _both_parts(config.get(key), value)}
    return {**config, **changes, **parts}


def _both_parts(old: Any, new: Any) -> bool:
    return isinstance(old, dict) and isinstance(new, dict)
