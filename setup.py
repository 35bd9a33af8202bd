"""Packaging of youtube8m_mod."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
init = (here / "youtube8m_mod" / "__init__.py").read_text(encoding="utf-8")

setup(
    name="youtube8m_mod",
    version=init.split('__version__ = "')[1].split('"')[0],
    description="MOD: a deep mixture of NeXtVLAD models with online knowledge distillation for video temporal "
    "concept localization (TensorFlow 2, Keras 3)",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    package_dir={"": "."},  # With it an editable installation is one line in a .pth file, and no page of warnings.
    packages=find_packages(include=["youtube8m_mod", "youtube8m_mod.*"]),
    package_data={
        "youtube8m_mod": ["py.typed"],
        "youtube8m_mod.explore": ["page.html", "page.css", "page.js"],
    },
    entry_points={
        "console_scripts": [
            f"youtube8m-mod-{name} = youtube8m_mod.{module}:run"
            for name, module in (
                ("train", "commands.train"),
                ("finetune", "commands.finetune"),
                ("inference", "commands.inference"),
                ("eval", "commands.eval_map"),
                ("export", "export"),
                ("demo", "demo"),
                ("check", "commands.check"),
                ("convert", "commands.convert"),
                ("explore", "explore.__main__"),
            )
        ]
    },
    python_requires=">=3.10",
    install_requires=[
        "tensorflow>=2.20",
        "numpy",
        "pandas",
        "absl-py",
        "tensorboard",  # The curves of a run: tf.summary raises without it, and TensorFlow no longer brings it.
        "tqdm",  # Progress with rate and remaining time, also where stderr is no terminal.
        "plotly>=6",  # The page of localised videos: brings plotly.js, which the page holds. Loaded only there.
        "matplotlib",  # The pictures of the demo, of eval_map.py --plots and of the report; loaded only there.
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20"],  # CUDA's libraries from the package index.
        # The engine beyond one process, in place of one of our own: it finds and reserves devices, knows at once of a
        # dead process or node, and does its work again elsewhere. One process needs none of it.
        "cluster": ["ray>=2.50"],
        "parquet": ["pyarrow"],  # What pandas reads and writes Parquet with: --timeline_file, features of one's own.
        # hypothesis: property tests of ranking and metric. pytest-xdist: two files of tests at a time.
        # selenium: the page in a real browser, where Chromium and chromedriver are.
        # ruff: `make lint`; another minor version may lay the code out differently.
        "test": ["pytest", "pytest-xdist", "hypothesis", "selenium>=4.20", "ruff>=0.17,<0.18", "ray>=2.50", "pyarrow"],
    },
)
