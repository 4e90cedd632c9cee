"""The only Kubernetes client, and the cache of what it saw."""
