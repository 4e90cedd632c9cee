"""kubectl-llm: what an LLMDeployment becomes, said before it is applied. Needs no cluster."""
