"""Checks of this repository that no off-the-shelf linter makes."""
