"""The LLMDeployment API: spec, status, reasons, names. The CRD is generated from these types."""
