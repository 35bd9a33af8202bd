"""The command `python -m youtube8m_mod.miniature` under its earlier name."""

import runpy

if __name__ == "__main__":
    runpy.run_module("youtube8m_mod.miniature", run_name="__main__")
