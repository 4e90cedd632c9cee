"""What the cluster's driver says when it cannot go on."""


class ClusterError(Exception):
    """The local cluster cannot do what was asked; the text says why and what would help."""
