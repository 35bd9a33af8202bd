"""bfloat16 is warned of where the processor lacks it, and only there."""

import pytest

from youtube8m_mod import processor
from youtube8m_mod.errors import UserError

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
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(processor, "has_bfloat16", lambda: there)
    monkeypatch.setattr(processor, "_has_gpu", lambda: gpu)
    processor.check_precision(precision)
    assert ("has no bfloat16 arithmetic" in capsys.readouterr().err) is warned


@pytest.mark.parametrize(
    "features, limit, onednn, gpu, precision, refused",
    [
        ("avx512f", "AVX2", "1", False, "bfloat16", True),
        ("avx512f", "avx2_vnni", None, False, "mixed_bfloat16", True),
        ("avx512f", "AVX2", "0", False, "bfloat16", False),
        ("avx512f", "AVX512_CORE", "1", False, "bfloat16", False),
        ("avx512f", "AVX2", "1", True, "bfloat16", False),
        ("avx512f", "AVX2", "1", False, "float32", False),
        ("avx2", "AVX2", "1", False, "bfloat16", False),
    ],
)
def test_a_limit_under_which_bfloat16_crashes(tmp_path, monkeypatch, features, limit, onednn, gpu, precision, refused):
    (tmp_path / "cpuinfo").write_text(X86.format(features))
    monkeypatch.setattr(processor, "_CPUINFO", str(tmp_path / "cpuinfo"))
    monkeypatch.setattr(processor, "_has_gpu", lambda: gpu)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if onednn:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    if not refused:
        processor.check_precision(precision)
        return
    with pytest.raises(UserError, match=f"precision={precision} crashes in TensorFlow with ONEDNN_MAX_CPU_ISA={limit}"):
        processor.check_precision(precision)
