"""A picture of the ratios in `docs/speed.md`: ``python -m benchmarks.ratios [FOLDER]``.

Reads the table of ``speed.md`` and draws ``ratios.png`` beside it, in a folder that is
``docs`` unless another is named. `benchmarks` calls it when it has written the table.
"""

import re
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROW = re.compile(r"\| (?P<what>[^|]+) \| (?P<against>[^|]+) \| (?P<ratio>[^|]+) \|")
LONGEST = 70  # characters of a line of a label


class Ratio(NamedTuple):
    """A row of the table: what was compared, the median ratio and its range."""

    what: str
    against: str
    median: float
    least: float
    largest: float


def read(path):
    """The ratios in a page, as `_timing.Comparison` writes them."""
    rows = ROW.finditer(Path(path).read_text().partition("## Growth")[0])
    for row in rows:
        figures = re.fullmatch(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", row["ratio"])
        if figures:
            yield Ratio(row["what"], row["against"], *map(float, figures.groups()))


def draw(ratios, path):
    """Ratios with their ranges as whiskers, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    ratios = list(ratios)[::-1]
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(ratios) + 1), layout="constrained")
    for height, ratio in enumerate(ratios):
        colour = "C0" if ratio.median >= 1 else "C1"
        axes.plot([ratio.least, ratio.largest], [height] * 2, color=colour, linewidth=1.5)
        axes.plot(ratio.median, height, "o", color=colour)
    axes.axvline(1, color="0.4", linewidth=1)
    axes.set(xscale="log", xlabel="time of the plain way / ours; a line is the range")
    axes.set_yticks(range(len(ratios)), list(_labels(ratios)), fontsize="small")
    axes.set_ylim(-0.7, len(ratios) - 0.3)
    ticks = [0.5, 1, 2, 5, 10, 20, 50, 100]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _labels(ratios):
    """What was compared and, where that is not enough to tell rows apart, with what."""
    counts = Counter(ratio.what for ratio in ratios)
    for ratio in ratios:
        label = ratio.what if counts[ratio.what] == 1 else f"{ratio.what}: {ratio.against}"
        yield textwrap.fill(label.replace("`", ""), LONGEST)


if __name__ == "__main__":
    folder = Path(*sys.argv[1:2] or ["docs"])
    draw(read(folder / "speed.md"), folder / "ratios.png")
