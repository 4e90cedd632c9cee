"""A real Kubernetes on this machine: one node, built from Go modules, no registry, no Docker.

`python -m cluster start | stop | status | logs DIR | clean`
"""
