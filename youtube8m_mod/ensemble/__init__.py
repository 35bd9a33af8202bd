"""Outputs of several models joined into one (late fusion)."""
