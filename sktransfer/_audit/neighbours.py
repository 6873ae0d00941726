"""The nearest images, by the angle between their features."""

import numpy as np
from sklearn.neighbors import NearestNeighbors


def nearest(features, k):
    """The positions of the k nearest to each image, without itself, of shape (n_images, k)."""
    centred = features - features.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    centred /= np.where(norms > 0, norms, 1)
    k = min(k, len(features) - 1)
    return NearestNeighbors(n_neighbors=k).fit(centred).kneighbors(return_distance=False)
