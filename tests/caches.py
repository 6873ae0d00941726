"""What is in a folder of the cache."""

from safetensors.numpy import load_file

from sktransfer._features.segments import SUFFIX


def rows_kept(cache):
    """The number of keys in the segments of a cache, of which a killed merge leaves twins."""
    segments = [load_file(path) for path in cache.rglob(f"*{SUFFIX}")]
    return len({key.tobytes() for segment in segments for key in segment["keys"]})
