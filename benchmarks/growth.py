"""How time and memory grow: ``python -m benchmarks.growth [quick] [PNG]``.

Prints, and draws into a file if one is named, seconds and peak memory against

- the number of images (100 to 20,000 of 16 × 16 pixels, the embedded network), extracted from
  an empty cache, and looked up;
- the number of files (1,000 to 100,000 such images): looked up, and of that what it takes to
  identify them;
- the number of views (1 to 32 of 200 images, the embedded network): a fit of one stage;
- the number of trained layers (1 to 16, all alike, 60 images in 4 views): a fit whose rows are
  all there;
- the number of rows in a cache (1,000 to 10,000,000 of 8 numbers): opening it, and looking up
  1,000 rows by their keys;
- the number of segments in a cache (20 to 20,000 of 50 rows): looking up 100 batches of 32
  images.

Every point is measured in a process of its own, after its imports and a warm-up. The exponent
p is that of a + b · size**p, by least squares of relative errors; 1 is linear. ``quick`` stops
at a tenth of images and rows.
"""

import subprocess
import sys
import tempfile
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

PRELUDE = """
import hashlib, os, pathlib, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import sktransfer._training.fit
from sktransfer import FineTunedConvNetClassifier, PretrainedFeatureTransformer
n, folder = int(sys.argv[1]), sys.argv[2]
def images(n, side=16):
    return np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)
def key(i):
    return hashlib.sha256(i.to_bytes(8, "little")).digest()
def tell(*functions):
    for function in functions:
        started = time.perf_counter()
        function()
        print(time.perf_counter() - started)
    # Linux's, since what `resource` says begins with the peak of the process above.
    status = pathlib.Path("/proc/self/status").read_text().split()
    print(int(status[status.index("VmHWM:") + 1]) / 1024)
"""

IMAGES = """
X = images(n)
transformer = PretrainedFeatureTransformer("tiny", input_size=(16, 16), cache_dir=folder)
transformer.fit_transform(255 - X[:20])
tell(lambda: transformer.fit_transform(X), lambda: transformer.fit_transform(X))
"""

FILES = """
from PIL import Image
from sktransfer._images import digests
paths = [f"{folder}/{i}.bmp" for i in range(n)]
for path, image in zip(paths, images(n)):
    Image.fromarray(image).save(path)
digests.SETTLED_SECONDS = 0  # those of new files are not remembered
transformer = PretrainedFeatureTransformer("tiny", input_size=(16, 16), cache_dir=folder)
transformer.fit_transform(paths)
extractor = transformer._feature_extractor()
tell(lambda: transformer.transform(paths), lambda: extractor.identify(paths))
"""

VIEWS = """
X, y = images(200), np.arange(200) % 2
def fit(y):
    FineTunedConvNetClassifier(
        "tiny", input_size=(16, 16), unfreeze=1, head_C=0.01, augmentation_views=n,
        fine_tune_epochs=10, early_stopping=False, random_state=0, cache_dir=folder,
    ).fit(X[: len(y)], y)
fit(y[:8])
tell(lambda: fit(y))
"""

DEPTH = """
import keras
X, y = images(60, side=32), np.arange(60) % 2
layers = [keras.layers.Conv2D(32, 3, padding="same", activation="relu") for _ in range(20)]
network = keras.Sequential([keras.Input((32, 32, 3)), *layers])
def fit():
    FineTunedConvNetClassifier(
        network, preprocessing="rescale", unfreeze=n, head_C=0.01, augmentation_views=4,
        fine_tune_epochs=10, early_stopping=False, random_state=0, cache_dir=folder,
    ).fit(X, y)
fit()
tell(fit)
"""

ROWS = """
from sktransfer._features.cache import FeatureCache
keys = [key(i) for i in range(0, n, n // 1000)]
out = np.empty((len(keys), 8), np.float32)
store = FeatureCache(folder).store("synthetic", (8,))
def read():
    assert store.read(keys, out).all()
tell(store.refresh, read)
"""

SEGMENTS = """
from sktransfer._features.cache import FeatureCache
rng = np.random.default_rng(0)
out = np.empty((32, 8), np.float32)
store = FeatureCache(folder).store("synthetic", (8,))
store.refresh()
def batches():
    for _ in range(100):
        store.refresh_if_due()
        keys = [key(i) for i in rng.integers(0, 50 * n, 32).tolist()]
        assert store.have(keys).all() and store.read(keys, out).all()
batches()
tell(batches)
"""

FILL = """
from sktransfer._features.cache import FeatureCache
store = FeatureCache(folder).store("synthetic", (8,))
rng = np.random.default_rng(0)
for start in range(0, N_ROWS, IN_SEGMENT):
    numbers = range(start, min(start + IN_SEGMENT, N_ROWS))
    rows = rng.random((len(numbers), 8), dtype=np.float32)
    store.write([key(i) for i in numbers], rows)
tell()
"""
FILL_ROWS = FILL.replace("N_ROWS", "n").replace("IN_SEGMENT", "10_000")
FILL_SEGMENTS = FILL.replace("N_ROWS", "50 * n").replace("IN_SEGMENT", "50")


class Growth(NamedTuple):
    """One quantity against another."""

    what: str
    unit: str
    against: str
    x: np.ndarray
    y: np.ndarray

    @property
    def exponent(self):
        """p of a + b · x**p, by least squares of relative errors; 0 of what does not grow."""
        x, y = self.x / self.x.max(), self.y / self.y.max()
        fitted = least_squares(
            lambda abp: (abp[0] + abp[1] * x ** abp[2]) / y - 1,
            (y.min(), 1, 1),
            bounds=(0, (1 + 1e-9, 2, 3)),
        )
        _, b, p = fitted.x
        return p if b > 0.01 else 0.0

    def __str__(self):
        """A row of a table in Markdown."""
        points = ", ".join(
            f"{x:,}: {y:.3g}" for x, y in zip(self.x.tolist(), self.y, strict=True)
        )
        return f"| {self.what} | {self.against} | {self.exponent:.2f} | {points} {self.unit} |"


HEADER = "| what | against | exponent | points |\n|---|---|---|---|"


def measure(code, n, folder):
    """What a script prints: seconds of each step, and the peak of memory in MB."""
    command = [sys.executable, "-c", PRELUDE + code, str(n), folder]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line) for line in printed.split()]


def grow(code, sizes, against, steps, *, fill=None):
    """Seconds of each step and memory against sizes."""
    points = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            if fill:
                measure(fill, n, folder)
            points.append(measure(code, n, folder))
    x, columns = np.array(sizes), np.array(points).T
    for step, column in zip(steps, columns, strict=False):
        yield Growth(step, "s", against, x, column)
    yield Growth("peak memory", "MB", against, x, columns[-1])


def growths(quick):
    images = [100, 300, 1000, 3000, 10_000, 20_000]
    files = [1000, 3000, 10_000, 30_000, 100_000]
    views, depths = [1, 2, 4, 8, 16, 32], [1, 2, 4, 8, 16]
    rows = [1000, 10_000, 100_000, 1_000_000, 10_000_000]
    segments = [20, 200, 2000, 20_000]
    if quick:
        images, files, rows, segments = images[:4], files[:3], rows[:3], segments[:3]
        views, depths = views[::2], depths[::2]
    yield from grow(IMAGES, images, "images", ["extraction, cold", "extraction, warm"])
    steps = ["extraction from files, warm", "of which identification"]
    yield from grow(FILES, files, "files", steps)
    yield from grow(VIEWS, views, "views", ["fit"])
    yield from grow(DEPTH, depths, "trained layers", ["fit, rows there"])
    steps = ["opening a cache", "looking up 1,000 rows"]
    yield from grow(ROWS, rows, "rows in the cache", steps, fill=FILL_ROWS)
    steps = ["100 batches"]
    yield from grow(SEGMENTS, segments, "segments in the cache", steps, fill=FILL_SEGMENTS)


def draw(growths, path):
    """Seconds (left) and memory (right) against each size, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    sizes = list(dict.fromkeys(growth.against for growth in growths))
    figure, axes = plt.subplots(
        2, len(sizes), figsize=(3.2 * len(sizes), 5.5), sharex="col", layout="constrained"
    )
    for column, size in zip(axes.T, sizes, strict=True):
        for growth in growths:
            if growth.against == size:
                axis = column[int(growth.unit == "MB")]
                label = f"{growth.what} ({growth.exponent:.2f})"
                axis.plot(growth.x, growth.y, "o-", markersize=4, label=label)
        for axis in column:
            axis.set_xscale("log")
            axis.legend(fontsize="small")
            axis.grid(alpha=0.3)
        column[0].set_yscale("log")
        for which in ("major", "minor"):
            getattr(column[0].yaxis, f"set_{which}_formatter")(LogFormatter())
        column[1].set_ylim(0, 1.3 * max(g.y.max() for g in growths if g.unit == "MB"))
        column[1].set_xlabel(f"number of {size}")
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("peak memory, MB")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def show(growths):
    """Print them as they come; return them."""
    print(HEADER)
    shown = []
    for growth in growths:
        print(growth, flush=True)
        shown.append(growth)
    return shown


if __name__ == "__main__":
    shown = show(growths(quick="quick" in sys.argv))
    for path in sys.argv[1:]:
        if path != "quick":
            draw(shown, path)
