"""The Triton model repository: config.pbtxt, model.json and the catalogue of runtimes. Pure."""
