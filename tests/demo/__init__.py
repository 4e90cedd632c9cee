"""The demo: from nothing to a model's answer, on real parts."""
