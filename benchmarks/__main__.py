"""All speeds, and how cost grows: ``python -m benchmarks [quick] [FOLDER]``.

Runs `benchmarks.extraction`, `.wrappers`, `.fine_tuning` and `.growth`, prints their tables
and writes them to ``speed.md``, with the pictures ``ratios.png`` and ``growth.png`` beside it,
in a folder that is ``docs`` unless another is named. Within an hour on 2 cores; ``quick``, of
fewer photographs, rounds and points, in 10 minutes. Accuracies are a command of their own,
`benchmarks.accuracy`.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import datetime
import importlib.metadata
import os
import platform
import sys
import textwrap
import time
from pathlib import Path

from benchmarks import extraction, fine_tuning, growth, ratios, wrappers
from benchmarks._timing import HEADER

LIBRARIES = ("sktransfer", "scikit-learn", "numpy", "keras", "tensorflow", "pillow")

MADE = """Made by `python -m benchmarks{mode}` in {minutes:.0f} minutes, {date}, on {cores}
cores of {processor}; {versions}. Run it where you are: on a shared machine the same code
varies by a factor of two from run to run, and ratios differ between processors."""
PAGE = """# Speed

{made}

## Ratios

A ratio is the plain way's time / ours, the median of runs that took turns, and in brackets its
range; the times are medians. What each row is, the pages of the scripts say: `python -m pydoc
benchmarks.extraction`, `benchmarks.wrappers`, `benchmarks.fine_tuning`.

{ratios}

## Growth

The exponent p is that of a + b · size**p, by least squares of relative errors; 1 is linear.
`python -m pydoc benchmarks.growth` says what was done.

{growth}

![Seconds and peak memory against images, views, trained layers and rows](growth.png)
"""


def processor():
    """The name of the CPU, where Linux tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main(folder="docs", quick=False):
    if not Path(folder).is_dir():
        raise SystemExit(f"no folder {folder!r} to write the page into")
    started = time.perf_counter()
    print(HEADER)
    comparisons = []
    for module in (extraction, wrappers, fine_tuning):
        for comparison in module.comparisons(quick):
            print(comparison, flush=True)
            comparisons.append(str(comparison))
    growths = growth.show(growth.growths(quick))
    made = MADE.format(
        mode=" quick" if quick else "",
        minutes=(time.perf_counter() - started) / 60,
        date=datetime.date.today(),
        cores=os.cpu_count(),
        processor=processor(),
        versions=", ".join(f"{n} {importlib.metadata.version(n)}" for n in LIBRARIES),
    )
    page = PAGE.format(
        made=textwrap.fill(made, 95),
        ratios="\n".join([HEADER, *comparisons]),
        growth="\n".join([growth.HEADER, *map(str, growths)]),
    )
    Path(folder, "speed.md").write_text(page)
    ratios.draw(ratios.read(Path(folder, "speed.md")), Path(folder, "ratios.png"))
    growth.draw(growths, Path(folder, "growth.png"))


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument != "quick"]
    main(*folders, quick="quick" in sys.argv)
