"""Memory that is freed, asked of the system's own count of pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from napari_eomt.training.heap import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    values = np.empty(2**26, np.uint8)
    values[::1024] = 1
    del values
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_large_arrays_come_from_what_was_freed():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("plain", "kept")
    }
    # Pages are of 4 kB, or of 2 MB where the system has made them so.
    assert faults["plain"] >= 16
    assert faults["kept"] < faults["plain"] / 4
