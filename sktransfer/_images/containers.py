"""What holds images in other libraries, and how to pass them from there."""

import io

REMEDIES = {  # library and class → what to pass instead
    ("tensorflow", "DatasetV2"): (
        "list(X.unbatch().map(lambda image, label: image).as_numpy_iterator())"
    ),
    ("tensorflow", "RaggedTensor"): "[image.numpy() for image in X]",
    ("keras", "PyDataset"): "np.concatenate([X[i][0] for i in range(len(X))])",
    ("torch", "Dataset"): (
        "[np.asarray(image) for image, label in X], without transforms into tensors"
    ),
    ("torch", "DataLoader"): (
        "[np.asarray(image) for image, label in X.dataset], without transforms into tensors"
    ),
    ("datasets", "Dataset"): "X['image']",
    ("datasets", "IterableDataset"): "[row['image'] for row in X]",
    ("datasets", "DatasetDict"): "one of its parts, X['train']['image']",
}


def remedy_for(X):
    """What to pass instead of X, or None; the libraries are not imported."""
    for kind in type(X).__mro__:
        library = kind.__module__.partition(".")[0]
        if (library, kind.__name__) in REMEDIES:
            return REMEDIES[library, kind.__name__]
    if isinstance(X, io.IOBase):
        return "[X.read()]"
    return None
