"""The machine a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numba
import numpy as np


def describe() -> str:
    """Describe machine and versions in one line."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = next((line.split(":")[1].strip() for line in text.splitlines() if "model name" in line), "")
    avx = "AVX-512" if " avx512f " in text else "no AVX-512"
    return (
        f"{model or platform.processor()}, {os.cpu_count()} processors, {avx}, {platform.system()}; "
        f"Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}"
    )
