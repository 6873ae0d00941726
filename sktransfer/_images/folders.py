"""A folder of images, one sub-folder for each class → paths and labels."""

import os
from collections.abc import Sequence

import numpy as np
from sklearn.utils import Bunch

from sktransfer._exceptions import warn

EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg"),
    *(".jpg", ".mpo", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"),
)
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
OF_FILE_MANAGERS = ("Thumbs.db", "desktop.ini", "__MACOSX")


def load_image_folder(
    path: str | os.PathLike[str],
    *,
    allowed_extensions: Sequence[str] = EXTENSIONS,
    recursive: bool = True,
) -> Bunch:
    """List the images in a folder that has a sub-folder for each class.

    No image is opened. Left out are files with other extensions, hidden files, and what file
    managers leave behind (``Thumbs.db``, ``desktop.ini``, ``__MACOSX``, ``._*``).

    Parameters
    ----------
    path : str or path
        The folder: ``path/class/image``. If all its sub-folders are called ``train``,
        ``val``, ``test`` or the like, and have sub-folders themselves, it is a folder of
        parts: ``path/part/class/image``.

    allowed_extensions : sequence of str, default=those of images
        Endings of files that are images, in lower or upper case. The default has those of
        AVIF, BMP, GIF, HEIF, JPEG, JPEG 2000, PNG, PPM, TIFF and WebP.

    recursive : bool, default=True
        Whether sub-folders of a class belong to that class. Links to folders are followed
        only where they are a class.

    Returns
    -------
    folder : Bunch
        As `sklearn.datasets.load_files` returns it, with these attributes.

        - ``filenames`` : ndarray of str, of shape (n_images,). Paths, sorted within a class.
        - ``target`` : ndarray of int, of shape (n_images,). The class of each, as its place in
          ``target_names``.
        - ``target_names`` : list of str. Names of the classes, sorted.

        Of a folder of parts, a Bunch of such Bunches by the names of the parts. They all have
        the same ``target_names``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder.
    ValueError
        No sub-folder has an image, or `allowed_extensions` is one text.

    Warns
    -----
    UserWarning
        A sub-folder has no image, and is left out.

    See Also
    --------
    sklearn.datasets.load_files : The same for files of any kind, without sub-folders.
    PretrainedFeatureTransformer : Takes the paths.
    FineTunedConvNetClassifier : Takes the paths and the labels.

    Notes
    -----
    Paths and labels in a table need no folder: pass its column of paths as X.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sktransfer import load_image_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cats/1.png", "cats/2.png", "dogs/1.png"):
    ...         Path(folder, name).parent.mkdir(exist_ok=True)
    ...         Image.new("RGB", (8, 8)).save(Path(folder, name))
    ...     pets = load_image_folder(folder)
    >>> pets.target, pets.target_names
    (array([0, 0, 1]), ['cats', 'dogs'])
    """
    if isinstance(allowed_extensions, str):
        raise ValueError(
            f"allowed_extensions={allowed_extensions!r} is one text: pass a list of them"
        )
    path = os.fsdecode(path)
    names = _sub_folders(path)
    endings = tuple(extension.lower() for extension in allowed_extensions)
    parts = [_images_of(os.path.join(path, name), endings, recursive) for name in names]
    if not (names and PARTS.issuperset(map(str.lower, names)) and all(parts)):
        return _labelled(_images_of(path, endings, recursive), path)
    classes = sorted({name for part in parts for name in part if part[name]})
    return Bunch(
        **{
            name: _labelled(part, os.path.join(path, name), classes)
            for name, part in zip(names, parts, strict=True)
        }
    )


def _sub_folders(path):
    with os.scandir(path) as entries:
        return sorted(
            entry.name for entry in entries if entry.is_dir() and _is_meant(entry.name)
        )


def _is_meant(name):
    """Whether a file or folder is one of the user's, not hidden or of a file manager."""
    return not name.startswith(".") and name not in OF_FILE_MANAGERS


def _images_of(path, endings, recursive):
    """Name of a class → paths of its images, sorted."""
    return {
        name: images_below(os.path.join(path, name), endings, recursive)
        for name in _sub_folders(path)
    }


def images_below(folder, endings=EXTENSIONS, recursive=True):
    """Paths of the images in a folder of any kind, sorted."""
    found = []
    for place, folders, files in os.walk(folder):
        found += [
            os.path.join(place, name)
            for name in files
            if name.lower().endswith(endings) and _is_meant(name)
        ]
        folders[:] = filter(_is_meant, folders) if recursive else ()
    return sorted(found)


def _labelled(images, path, classes=None):
    """Paths and labels as a Bunch; classes without an image are left out."""
    empty = [name for name, paths in images.items() if not paths]
    if len(empty) == len(images):
        raise ValueError(
            f"no images in {path!r}: a sub-folder for each class is expected, with "
            "files whose names end as allowed_extensions says"
        )
    classes = classes or sorted(set(images).difference(empty))
    left_out = sorted(set(empty).difference(classes))
    if left_out:
        warn(f"sub-folders of {path!r} without an image are left out: {left_out}")
    counts = [len(images.get(name, ())) for name in classes]
    return Bunch(
        filenames=np.array([path for name in classes for path in images.get(name, ())]),
        target=np.repeat(np.arange(len(classes)), counts),
        target_names=classes,
    )
