"""What a saved model says of images."""

import csv
import json
import os
import sys
from dataclasses import dataclass

import numpy as np
from sklearn.base import is_regressor

from sktransfer import InvalidImagesError
from sktransfer._cli.models import load
from sktransfer._images.folders import images_below

TOGETHER = 128  # images that are predicted before what is said of them is printed


@dataclass(frozen=True)
class Answer:
    """What is said of an image, in columns: words, then figures.

    Attributes
    ----------
    words : list
    figures : list of float
    """

    words: list
    figures: list


class _Classes:
    """The most probable class of each image, and how probable it is."""

    columns = ("label", "confidence")

    def __init__(self, model):
        self._model, self._classes = model, np.asarray(model.classes_).tolist()
        self.width = max(len(str(label)) for label in self._classes)

    def of(self, files):
        probabilities = self._model.predict_proba(files)
        return [Answer([self._classes[p.argmax()]], [float(p.max())]) for p in probabilities]


class _Labels:
    """The labels more probable than not, and how probable it is that they are all right."""

    columns = ("label", "confidence")
    width = 0

    def __init__(self, model):
        self._model = model
        self._names = getattr(model, "label_names_", None)
        if self._names is None:
            self._names = np.arange(len(model.classes_)).astype(str)

    def of(self, files):
        probabilities = self._model.predict_proba(files)
        if isinstance(probabilities, list):  # as MultiOutputClassifier has them
            probabilities = np.column_stack([one[:, 1] for one in probabilities])
        sure = np.maximum(probabilities, 1 - probabilities).prod(axis=1)
        return [
            Answer([";".join(self._names[p > 0.5])], [float(confidence)])
            for p, confidence in zip(probabilities, sure, strict=True)
        ]


class _Numbers:
    """The numbers of each image."""

    width = 0

    def __init__(self, model):
        n_numbers = getattr(model, "n_outputs_", 1)
        unnamed = [f"number_{i}" for i in range(n_numbers)]
        self._model, self.columns = model, getattr(model, "label_names_", unnamed)

    def of(self, files):
        numbers = self._model.predict(files).reshape(len(files), -1)
        return [Answer([], of_image.tolist()) for of_image in numbers]


def predict(options):
    """Print what a model says of each file that is an image."""
    answers = _answers(load(options.model))
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files can be any bytes
    show = _printer(options.format, answers)
    wanted, n_shown = [*_images(options.files)], 0
    for start in range(0, len(wanted), TOGETHER):
        files, said = _readable(answers, wanted[start : start + TOGETHER])
        for file, answer in zip(files, said, strict=True):
            show(file, answer)
        n_shown += len(files)
        sys.stdout.flush()
    return 0 if n_shown == len(wanted) else 1


def _answers(model):
    if is_regressor(model):
        return _Numbers(model)
    return _Labels(model) if np.ndim(model.classes_) == 2 else _Classes(model)


def _images(files):
    """The files, and the images in folders among them."""
    for file in files:
        if os.path.isdir(file):
            yield from images_below(file)
        else:
            yield file


def _readable(answers, files):
    """The files that are images, and an answer for each; say what the others are."""
    while files:
        try:
            return files, answers.of(files)
        except InvalidImagesError as error:
            for row in error.rows:
                print(f"sktransfer: {row.source} {row.reason}", file=sys.stderr)
            bad = {row.row for row in error.rows}
            files = [file for i, file in enumerate(files) if i not in bad]
    return [], []


def _printer(form, answers):
    """A function that prints a file and what is said of it, in a form."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", *answers.columns])
        return lambda file, answer: writer.writerow(
            [
                _written(file),
                *map(_written, answer.words),
                *(f"{figure:.6f}" for figure in answer.figures),
            ]
        )
    if form == "jsonl":
        return lambda file, answer: print(
            json.dumps(_as_object(file, answer, answers.columns))
        )
    return lambda file, answer: print(
        *(f"{_written(word):{answers.width}}" for word in answer.words),
        *(f"{figure:.3f}" for figure in answer.figures),
        _written(file),
        sep="  ",
    )


def _as_object(file, answer, columns):
    values = [*answer.words, *(round(figure, 6) for figure in answer.figures)]
    return {"file": file, **dict(zip(columns, values, strict=True))}


def _written(text):
    """A text as standard output can take it, names of files as the bytes that they are."""
    encoding, text = sys.stdout.encoding, str(text)
    try:
        text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
