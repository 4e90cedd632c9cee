"""Benchmarks: a number for every claim, made by a command that anyone can run."""
