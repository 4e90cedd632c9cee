"""GPU memory: what an engine will allocate with the user's own settings, computed as its version of vLLM does. Pure."""
