"""What the processor can do, as far as it decides which settings pay."""

import os
import platform
import subprocess
import sys

_CPUINFO = "/proc/cpuinfo"
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "avx10_1", "avx10_2", "bf16"}  # The last is ARM's name.
# Limits that the user can put on oneDNN, which computes TensorFlow's products on x86, below what the processor has.
_LIMITS_BELOW_AVX512 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"}
_LIMITS_WITHOUT_BFLOAT16 = _LIMITS_BELOW_AVX512 | {"AVX512_CORE", "AVX512_CORE_VNNI"}


def has_bfloat16() -> bool | None:
    """Whether the processor multiplies bfloat16 numbers (AVX512_BF16, AMX, ARM's BF16); None where it does not say."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _LIMITS_WITHOUT_BFLOAT16:
        return False
    features = _features()
    return None if features is None else bool(features & _BFLOAT16)


def bfloat16_warning(precision: str) -> str | None:
    """A sentence where `precision` asks for bfloat16 on a processor on which it is slower than float32; else None."""
    if "bfloat16" not in precision or has_bfloat16() is not False or _has_gpu():
        return None
    return (
        f"--precision={precision}: this processor has no bfloat16 arithmetic (expected AVX512_BF16, AMX or ARM's "
        "BF16), so it will be slower than float32, about half as fast (docs/speed.md)."
    )


def check_precision(precision: str) -> None:
    """Prints `bfloat16_warning`, where there is one, on stderr.

    Raises:
        UserError: where TensorFlow would crash. It gives oneDNN products of bfloat16 numbers wherever the processor has
            AVX-512 (elsewhere it computes them itself), also where oneDNN was told to do without.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    if (
        "bfloat16" in precision
        and limit.upper() in _LIMITS_BELOW_AVX512
        and "avx512f" in (_features() or ())
        and os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
        and not _has_gpu()
    ):
        from youtube8m_mod.errors import UserError  # Not above: nothing stands before TensorFlow's start.

        raise UserError(
            f"--precision={precision} crashes in TensorFlow with ONEDNN_MAX_CPU_ISA={limit} on a processor with "
            "AVX-512: expected TF_ENABLE_ONEDNN_OPTS=0 beside it, or no ONEDNN_MAX_CPU_ISA, or --precision=float32."
        )
    if text := bfloat16_warning(precision):
        print(f"warning: {text}", file=sys.stderr)


def onednn_pays() -> bool:
    """Whether TensorFlow's oneDNN kernels are the faster ones here: on x86 with AVX2 (docs/speed.md).

    TensorFlow switches them on by itself only on x86 processors with VNNI, AVX512_BF16 or AMX; on others, as AMD's
    before Zen 4, that leaves a tenth to a third of the speed.
    """
    return platform.machine().lower() in ("x86_64", "amd64") and {"avx2", "fma"} <= (_features() or set())


def _features():
    """Names of the features of the processor, lower case; None where the system does not list them."""
    try:
        with open(_CPUINFO, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return set(value.lower().split())
        return None
    except OSError:
        return _apple_features() if sys.platform == "darwin" else None


def _apple_features():
    try:
        text = subprocess.run(
            ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"bf16"} if text == "1" else set()


def _has_gpu():
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
