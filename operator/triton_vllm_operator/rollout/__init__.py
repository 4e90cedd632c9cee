"""How the pods of one revision are replaced by those of the next: by what is really free. Pure."""
