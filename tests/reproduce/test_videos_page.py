"""The page of localised videos beside the report."""

import json
import types

import numpy as np

from youtube8m_mod import files
from youtube8m_mod.formats.arrays import write_arrays
from youtube8m_mod.miniature.writer import TRUTH
from youtube8m_mod.reproduce import report
from youtube8m_mod.reproduce.schedule import key
from youtube8m_mod.reproduce.work import SEGMENTS


def test_the_page_of_the_finetuned_mod(tmp_path):
    place = types.SimpleNamespace(
        output_dir=f"{tmp_path}/report",
        folder=lambda training, seed: f"{tmp_path}/{seed}",
        dataset=lambda training, seed: f"{tmp_path}/{seed}",
    )
    entries = {key(report._TIMELINES, 7): {}}
    assert report._write_page(place, entries, 7, None) is None
    arrays = {
        "ids": np.array([b"v1", b"v1", b"v2"]),
        "starts": np.array([5, 0, 0]),
        "classes": np.array([2, 9]),
        "probabilities": np.array([[0.25, 0.5], [0.75, 1.0], [0.125, 0.0]], np.float32),
    }
    write_arrays(f"{tmp_path}/7/{SEGMENTS}", arrays)
    scene = {"start": 0, "end": 6, "labels": [9], "source": "s"}
    files.write_json(f"{tmp_path}/7/{TRUTH}", {"videos": {"v1": {"labels": [9], "scenes": [scene]}}})
    assert report._write_page(place, {}, 7, None) is None  # The training is not done.
    name = report._write_page(place, entries, 7, {9: "Car"})
    text = (tmp_path / "report" / name).read_text(encoding="utf-8")
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert data["quantity"] == "probability"
    assert [(c["id"], c["name"]) for c in data["classes"]] == [(2, ""), (9, "Car")]
    assert [(v["id"], v["segments"], v["classes"]) for v in data["videos"]] == [("v1", 2, [1, 0]), ("v2", 1, [0, 1])]
    assert data["videos"][0]["truth"] == [[1, 0, 6, 1]]
