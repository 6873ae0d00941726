"""How fast images are read: ``python -m benchmarks.decoding [quick]``.

Prints images a second on one core, of each format and size, from a path to an array of
224 × 224 pixels: by this package, by `keras.utils.load_img`, and by Pillow as one writes it
(`Image.open`, `convert`, an antialiased `resize`). They take turns; the figures are medians.
Images are photographs that are enlarged, with grain, as a camera's. The last column is the
memory that reading one takes beyond what the process had before, in MB.

``quick`` leaves out the largest ones. The environment variable ``SKTRANSFER_TEST_DATA`` names
the folder of real data.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from benchmarks._timing import photographs
from benchmarks.plain import decoded
from sktransfer._images.decoding import decode
from sktransfer._images.sources import content_of

SIZE = (224, 224)
TWELVE_MEGAPIXELS = (4032, 3024)
MEGAPIXELS = {0.15: (447, 335), 1: (1155, 866), 12: TWELVE_MEGAPIXELS, 48: (8064, 6048)}
FORMATS = {  # what Pillow is to save, of a file's ending
    ".jpg": {"quality": 92},
    ".png": {"compress_level": 1},
    ".webp": {"quality": 90},
    ".avif": {"quality": 80, "speed": 10},
    ".jp2": {"quality_mode": "rates", "quality_layers": [10]},
    ".tif": {},
    ".heic": {"quality": 80},
}
HEADER = (
    "| format | megapixels | ours | `load_img` | Pillow | memory |\n|---|---|---|---|---|---|"
)
GRAIN = 6  # standard deviation, of 255

MEMORY = """
import pathlib, sys
from sktransfer._images.decoding import decode
from sktransfer._images.sources import content_of

def status(name):
    words = pathlib.Path("/proc/self/status").read_text().split()
    return int(words[words.index(name) + 1]) / 1024

small, large = sys.argv[1:]
decode(content_of(small), (224, 224), (0, 255))  # what is imported is not counted
before = status("VmRSS:")
decode(content_of(large), (224, 224), (0, 255))
print(status("VmHWM:") - before)
"""


def enlarged(path, size, seed=0):
    """A photograph as a camera of so many pixels might take it."""
    with Image.open(path) as image:
        large = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, GRAIN, (*size[::-1], 3)).astype(np.float32)
    return Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))


def by_pillow(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))


WAYS = (
    lambda path: decode(content_of(path), SIZE, (0, 255)),
    lambda path: decoded([path], SIZE),
    by_pillow,
)


def rates(path, rounds):
    """Images a second, of each way."""
    seconds = np.empty((rounds, len(WAYS)))
    for row in seconds:
        for i, way in enumerate(WAYS):
            started = time.perf_counter()
            way(path)
            row[i] = time.perf_counter() - started
    return 1 / np.median(seconds, axis=0)


def memory(small, large):
    """MB that reading the larger one takes, in a process that has read the smaller one."""
    command = [sys.executable, "-c", MEMORY, small, large]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(printed)


def main(quick):
    path = photographs()[0][0]
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    else:
        del FORMATS[".heic"]
    Image.MAX_IMAGE_PIXELS = None
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for ending, options in FORMATS.items():
            files = {}
            for megapixels, size in MEGAPIXELS.items():
                if megapixels > 12 and (quick or ending not in (".jpg", ".png")):
                    continue
                files[megapixels] = str(Path(folder, f"{megapixels}{ending}"))
                enlarged(path, size).save(files[megapixels], **options)
                figures = rates(files[megapixels], rounds=3 if megapixels > 1 else 15)
                figures = " | ".join(f"{figure:.3g}" for figure in figures)
                needed = memory(files[0.15], files[megapixels])
                print(
                    f"| {ending[1:]} | {megapixels} | {figures} | {needed:.0f} |", flush=True
                )


if __name__ == "__main__":
    main(quick="quick" in sys.argv)
