"""Reads the engine arguments of published vLLM versions; `make arguments` writes the catalogue from it."""
