"""Measurements: `python -m benchmarks.<name>` in the checkout."""

from youtube8m_mod import environment

environment.prepare()
