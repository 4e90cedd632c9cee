"""One pure builder per child kind: typed values in, manifest out."""
