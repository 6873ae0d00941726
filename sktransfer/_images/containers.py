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

RECIPES = {  # library and class of what is in parts on workers → how they transform it
    ("dask", "Array"): (
        "X.rechunk({axis: -1 for axis in range(1, X.ndim)})"  # or blocks are taken for images
        ".map_blocks(fitted.transform, drop_axis=list(range(2, X.ndim)), "
        "chunks=(X.chunks[0], len(fitted.get_feature_names_out())), "
        "meta=fitted.transform([]))"
    ),
    ("dask", "Bag"): "X.map_partitions(lambda part: fitted.transform(list(part)))",
    ("dask", "FrameBase"): "X.map_partitions(fitted.transform, meta=fitted.transform([]))",
    ("ray", "Dataset"): (
        "X.map_batches(lambda batch: {'features': fitted.transform(batch['path'])})"
    ),
}


def remedy_for(X):
    """What to pass instead of X, or None; the libraries are not imported."""
    return _found(X, REMEDIES) or ("[X.read()]" if isinstance(X, io.IOBase) else None)


def recipe_for(X):
    """How workers transform the parts of X, or None; the libraries are not imported."""
    return _found(X, RECIPES)


def _found(X, table):
    """What a table has of a class of X, or None."""
    for kind in type(X).__mro__:
        library = kind.__module__.partition(".")[0]
        if (library, kind.__name__) in table:
            return table[library, kind.__name__]
    return None
