"""What keeps pods from generating, with a name for each failure."""
