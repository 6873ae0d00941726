"""Parts of a set of images in which each label has its share."""

import numpy as np


def stratified_parts(labels, shares, seed):
    """Which part each image goes to: that which lacks its rarest label most.

    This is iterative stratification: K. Sechidis et al., "On the Stratification of
    Multi-label Data", 2011. Besides, each part is to have one image at least of each label
    that has enough.

    Parameters
    ----------
    labels : ndarray of shape (n_images, n_labels)
        1 where an image has a label, else 0.
    shares : sequence of float
        Of all images, for each part; they sum up to 1.
    seed : int

    Returns
    -------
    parts : ndarray of int of shape (n_images,)
    """
    shares, n_images = np.asarray(shares), len(labels)
    has = np.column_stack([labels > 0, ~labels.any(axis=1)])  # to have none is a label, too
    counts = has.sum(axis=0)
    lacking = np.maximum(np.outer(shares, counts), counts >= len(shares))
    room = shares * n_images
    parts = np.full(n_images, -1)
    order = np.random.default_rng(seed).permutation(n_images)
    while len(left := order[parts[order] < 0]):
        counts = has[left].sum(axis=0)
        rarest = np.argmin(np.where(counts, counts, n_images + 1))
        for image in left[has[left, rarest]]:
            part = np.lexsort((room, lacking[:, rarest]))[-1]
            parts[image] = part
            lacking[part] -= has[image]
            room[part] -= 1
    return parts
