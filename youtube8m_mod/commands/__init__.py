"""The commands: their flags and the one call that each makes into the package."""
