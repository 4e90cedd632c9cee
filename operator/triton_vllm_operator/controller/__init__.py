"""kopf wiring, work queue, resync, settings, metrics, liveness."""
