"""The name of a fetched model's folder: the program makes it, and the manifests point to it. Pure."""


def folder_name(repository: str, commit: str) -> str:
    """One folder for each commit, as `meta-llama--Llama-2-7b-chat-hf@f5db02db...`; a hub's names hold no `--`."""
    return f"{repository.replace('/', '--')}@{commit}"
