"""Whether a pod generates: the probe (I/O), its verdict and the reading of pod status (both pure)."""
