"""Images × network → rows, computed once and kept.

In come images, a network and cuts; out go rows: one float32 array for each view of an image
at each cut. Imports `_images`, `_networks`, `_runtime` and `_exceptions`.
"""
