"""Labels of images by a saved model."""

import csv
import json
import os
import sys

import numpy as np

from sktransfer import InvalidImagesError
from sktransfer._cli.models import load
from sktransfer._images.folders import images_below

TOGETHER = 128  # images that are classified before their labels are printed


def predict(options):
    """Print label and confidence of each file that is an image."""
    model = load(options.model)
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files can be any bytes
    classes = np.asarray(model.classes_).tolist()
    show = _printer(options.format, model.classes_)
    wanted, n_shown = [*_images(options.files)], 0
    for start in range(0, len(wanted), TOGETHER):
        files, probabilities = _probabilities(model, wanted[start : start + TOGETHER])
        for file, row in zip(files, probabilities, strict=True):
            show(file, classes[row.argmax()], float(row.max()))
        n_shown += len(files)
        sys.stdout.flush()
    return 0 if n_shown == len(wanted) else 1


def _images(files):
    """The files, and the images in folders among them."""
    for file in files:
        if os.path.isdir(file):
            yield from images_below(file)
        else:
            yield file


def _probabilities(model, files):
    """The files that are images, and their probabilities; say what the others are."""
    while files:
        try:
            return files, model.predict_proba(files)
        except InvalidImagesError as error:
            for row in error.rows:
                print(f"sktransfer: {row.source} {row.reason}", file=sys.stderr)
            bad = {row.row for row in error.rows}
            files = [file for i, file in enumerate(files) if i not in bad]
    return [], []


def _printer(form, classes):
    """A function that prints file, label and confidence in a form."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["file", "label", "confidence"])
        return lambda file, label, confidence: writer.writerow(
            [_written(file), _written(label), f"{confidence:.6f}"]
        )
    if form == "jsonl":
        return lambda file, label, confidence: print(
            json.dumps({"file": file, "label": label, "confidence": round(confidence, 6)})
        )
    width = max(len(str(label)) for label in classes)
    return lambda file, label, confidence: print(
        f"{_written(label):{width}}  {confidence:.3f}  {_written(file)}"
    )


def _written(text):
    """A text as standard output can take it, names of files as the bytes that they are."""
    encoding, text = sys.stdout.encoding, str(text)
    try:
        text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
