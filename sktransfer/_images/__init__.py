"""X → upright RGB pixels, and views of them.

In comes what users pass as X; out go float32 arrays (height, width, 3) from 0 to 255, one for
each view of an image, and the digest of each image. Imports `_runtime` and `_exceptions`.
"""
