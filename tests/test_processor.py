"""bfloat16 is warned of where the processor lacks it, and only there."""

import pytest

from youtube8m_mod import processor

X86 = "processor\t: 0\nflags\t\t: fpu avx2 {}\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize(
    "text, limit, expected",
    [
        (X86.format("fma"), None, False),
        (X86.format("avx512f avx512_bf16"), None, True),
        (X86.format("amx_tile amx_bf16"), None, True),
        (X86.format("avx512f avx512_bf16"), "avx512_core", False),
        (X86.format("avx512f avx512_bf16"), "ALL", True),
        ("Features\t: fp asimd bf16\n", None, True),
        ("Features\t: fp asimd\n", None, False),
        ("model name : unknown\n", None, None),
    ],
)
def test_has_bfloat16(tmp_path, monkeypatch, text, limit, expected):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", str(tmp_path / "cpuinfo"))
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert processor.has_bfloat16() is expected


@pytest.mark.parametrize(
    "precision, there, gpu, warned",
    [
        ("float32", False, False, False),
        ("bfloat16", False, False, True),
        ("mixed_bfloat16", False, False, True),
        ("mixed_bfloat16", False, True, False),
        ("bfloat16", True, False, False),
        ("bfloat16", None, False, False),
    ],
)
def test_warning(monkeypatch, capsys, precision, there, gpu, warned):
    monkeypatch.setattr(processor, "has_bfloat16", lambda: there)
    monkeypatch.setattr(processor, "_has_gpu", lambda: gpu)
    processor.warn_of_slow_precision(precision)
    assert ("has no bfloat16 arithmetic" in capsys.readouterr().err) is warned
