"""The page of localised videos: its size, and how soon a browser has drawn it.

    python -m benchmarks.explore [--quick]

Writes a page of 1,000 generated videos of 60 segments with 1000 classes (--quick: 50), and opens it in a headless
Chromium where there is one. Prints a table and one JSON line.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

import numpy as np

from tests.explore import chromium
from youtube8m_mod import terminal
from youtube8m_mod.explore.contents import PROBABILITY, Contents, Video, best_segments
from youtube8m_mod.explore.page import write_page

SEGMENTS, CLASSES, OF_A_VIDEO = 60, 1000, 40


def contents(num_videos, rng):
    """Videos whose classes come and go: logits that walk at random."""
    videos = []
    for number in range(num_videos):
        logits = rng.normal(-2, 2, OF_A_VIDEO) + np.cumsum(rng.normal(0, 0.7, (SEGMENTS, OF_A_VIDEO)), axis=0)
        classes = rng.choice(CLASSES, OF_A_VIDEO, replace=False)
        values = (1 / (1 + np.exp(-logits))).astype(np.float32)
        videos.append(Video(f"video{number:06d}", classes, values))
    names = {class_id: f"a class by the number {class_id}" for class_id in range(CLASSES)}
    return Contents("Generated videos", PROBABILITY, videos, best_segments(videos, 100), names)


def drawing_times(path, folder, repeats):
    """Median milliseconds: lists and texts, first drawing, another video, a class."""
    browser = chromium.start(os.path.join(folder, "profile"))
    try:
        chromium.resize(browser, 1280, 900)
        times = [_drawing_times(browser, path) for _ in range(repeats + 1)][1:]  # The first one starts the browser.
        errors = browser.get_log("browser")
    finally:
        browser.quit()
    if errors:
        raise RuntimeError(f"The page writes to the console: {errors[0]}")
    return {name: statistics.median(run[name] for run in times) for name in times[0]}


def _drawing_times(browser, path):
    browser.get("about:blank")
    browser.get(f"file://{path}")
    marks = browser.execute_script("return {...document.documentElement.dataset}")
    change = """const done = arguments[1], start = performance.now();
        const drawn = () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
        addEventListener("hashchange", drawn, {once: true});
        location.hash = arguments[0];"""
    return {
        "lists, ms": float(marks["listed"]),
        "first drawing, ms": float(marks["drawn"]),
        "another video, ms": browser.execute_async_script(change, "#video=video000007"),
        "a class, ms": browser.execute_async_script(change, "#class=11"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 videos")
    quick = parser.parse_args().quick
    made = contents(50 if quick else 1000, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        path, start = f"{folder}/page.html", time.perf_counter()
        size = write_page(path, made)
        row = {"videos": len(made.videos), "MB": size / 1e6, "writing, s": time.perf_counter() - start}
        if chromium.found():
            row |= drawing_times(path, folder, 2 if quick else 7)
    print(terminal.format_table([row]))
    print(json.dumps(row))


if __name__ == "__main__":
    main()
