"""Images and what is known of them: a folder for each class, or a table."""

import csv
import os
from dataclasses import dataclass

import numpy as np
from sklearn.utils.multiclass import type_of_target

from sktransfer import load_image_folder

WORDS = {  # what scikit-learn calls a y → which task it is
    "binary": "classes",
    "multiclass": "classes",
    "multilabel-indicator": "labels",
    "multiclass-multioutput": "numbers",
    "continuous": "numbers",
    "continuous-multioutput": "numbers",
}


@dataclass(frozen=True)
class Table:
    """Paths of images, and columns of what is known of them.

    Attributes
    ----------
    files : ndarray of str of shape (n_images,)
    names : ndarray of str of shape (n_columns,)
    values : ndarray of str of shape (n_images, n_columns)
    """

    files: np.ndarray
    names: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, path):
        """That of a folder with a sub-folder for each class, or of a file."""
        return cls._of_folder(path) if os.path.isdir(path) else cls._of_file(path)

    @classmethod
    def _of_folder(cls, folder):
        images = load_image_folder(folder)
        if "filenames" not in images:
            raise ValueError(f"{folder} has the parts {list(images)}: name one of them")
        values = np.array(images.target_names)[images.target]
        return cls(images.filenames, np.array(["class"]), values[:, np.newaxis])

    @classmethod
    def _of_file(cls, path):
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
        if len(header) < 2 or not rows or any(len(row) != len(header) for row in rows):
            raise ValueError(
                f"{path} is no table of images: a header, then a file and one or more values "
                "in each line, as many as in the header"
            )
        table, folder = np.array(rows), os.path.dirname(path)
        if (empty := np.argwhere(np.char.strip(table) == "")).size:
            raise ValueError(f"{path} has an empty cell, for {str(table[empty[0, 0], 0])!r}")
        files = np.array([os.path.join(folder, file) for file in table[:, 0]])
        return cls(files, np.array(header[1:]), table[:, 1:])

    def guessed_task(self):
        """The word for what y is, by scikit-learn's `type_of_target`."""
        try:
            numbers = self.values.astype(float)
        except ValueError:
            return "classes"
        y = numbers[:, 0] if numbers.shape[1] == 1 else numbers
        return WORDS[type_of_target(y)]
