"""A Triton Python backend that serves vLLM, on any accelerator that vLLM runs on.

It keeps the contract of NVIDIA's vLLM backend: model.json, the same inputs, outputs, errors and metrics.
"""
