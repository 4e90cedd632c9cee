"""observe -> decide -> apply."""
