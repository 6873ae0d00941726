"""The jobs of the command line: compare, fine-tune, predict."""

import argparse
import csv
import json
import os
import sys
import time
from collections import Counter

# Before TensorFlow and matplotlib are imported: the start-up messages of the one are not
# about the user's job, and no window of the other is wanted.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import (
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    FineTunedConvNetClassifier,
    InvalidImagesError,
    PretrainedFeatureTransformer,
    SktransferError,
    TrainingHistoryDisplay,
    clear_cache,
    load_image_folder,
)

DESCRIPTION = """\
Classify a folder of photographs, one sub-folder for each class: features of a pretrained
network, then a logistic regression, cross-validated. Without a folder, show on handwritten
digits what features of a network bring that has seen other digits only. With --fine-tune,
train the top of the network along, and compare on images that are held out.
"""
EPILOG = "python -m sktransfer predict MODEL FILES...: classify images by a saved model."
DIGITS = {"backbone": "tiny", "image_shape": (8, 8), "input_range": (0, 16)}
HELD_OUT = 0.25  # of a folder's images, to compare on …
TRAINED_ON = 100  # … and so many of the digits to train on
TOGETHER = 128  # images that are classified before their labels are printed
TRUSTED = [  # classes in a .skops file, besides those that skops itself trusts
    "sktransfer.FineTunedConvNetClassifier",
    "sktransfer.ImageAugmentation",
    "sktransfer.PretrainedFeatureTransformer",
]


def run(arguments):
    """Run the command line; return its exit code."""
    if arguments[:1] == ["predict"]:
        job, options = _predict, _predict_parser().parse_args(arguments[1:])
    else:
        job, options = _learn, _checked(_parser(), arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # names of classes can be any text
    try:
        code = job(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as `| head` leaves behind
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SktransferError, ValueError, OSError) as error:
        print(f"sktransfer: {error}", file=sys.stderr)
        return 1
    return code


def _parser():
    parser = argparse.ArgumentParser(
        "python -m sktransfer", description=DESCRIPTION, epilog=EPILOG
    )
    add = parser.add_argument
    add("folder", nargs="?", metavar="FOLDER", help="FOLDER/class/image")
    add("--backbone", default="vgg16", help="a name, or a .keras file")
    add(
        "--backbone-params",
        type=json.loads,
        metavar="JSON",
        help="""such as '{"alpha": 0.75}'""",
    )
    add("--weights", default="pretrained", help="a file of weights")
    add(
        "--preprocessing",
        default="backbone",
        choices=("backbone", "rescale", "none"),
        help="what a .keras file of your own takes: pixels from 0 to 1, or to 255",
    )
    add(
        "--fine-tune",
        action="store_true",
        help="train the top of the network; save the model, and its curves in NAME-curves.png",
    )
    add(
        "--output",
        metavar="FILE",
        help="save the fitted model here, as .joblib or .skops (default with --fine-tune: "
        "fine-tuned.joblib)",
    )
    add("--clear-cache", action="store_true", help="first forget all features computed so far")
    return parser


def _predict_parser():
    parser = argparse.ArgumentParser(
        "python -m sktransfer predict",
        description="Print the label of each image, and how probable the model holds it.",
        epilog="Loading a .joblib file runs the code in it: load none that you do not trust. "
        "Loading a .skops file runs none.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that --output saved")
    parser.add_argument("files", metavar="FILES", nargs="+", help="images")
    parser.add_argument(
        "--format",
        default="text",
        choices=("text", "csv", "jsonl"),
        help="a table, comma-separated values, or an object of JSON a line",
    )
    return parser


def _checked(parser, arguments):
    """The options, after what can be found wrong with them before any work."""
    options = parser.parse_args(arguments)
    if options.folder is not None and not os.path.isdir(options.folder):
        parser.error(f"no folder {options.folder!r}")
    if options.fine_tune and not options.output:
        options.output = "fine-tuned.joblib"
    if options.output and not os.access(os.path.dirname(options.output) or ".", os.W_OK):
        parser.error(f"no folder for {options.output!r} that can be written")
    if options.output and os.path.isdir(options.output):
        parser.error(f"{options.output!r} is a folder: name a file in it")
    return options


def _learn(options):
    """Everything but `predict`."""
    if options.clear_cache:
        clear_cache()
    started = time.perf_counter()
    if options.fine_tune:
        _fine_tune(options)
    else:
        pipeline = _classify_folder(options) if options.folder else _show_digits()
        if options.output:
            _save(pipeline, options.output)
            print(f"\nfitted on all images and saved: {options.output}")
    print(f"\n{time.perf_counter() - started:.1f} s")
    return 0


def _save(model, path):
    """Save a model that will go about its work silently."""
    verbose = [name for name in model.get_params() if name.split("__")[-1] == "verbose"]
    model.set_params(**dict.fromkeys(verbose, 0))
    if path.endswith(".skops"):
        _skops().dump(model, path)
    else:
        joblib.dump(model, path)


def _load(path):
    skops = path.endswith(".skops")
    return _skops().load(path, trusted=TRUSTED) if skops else joblib.load(path)


def _skops():
    try:
        import skops.io
    except ImportError as error:
        raise ValueError(
            "files that end in .skops need skops: pip install 'sktransfer[skops]'; files that "
            "end in .joblib need nothing more"
        ) from error
    return skops.io


def _fine_tune(options):
    """Compare a fine-tuned network with frozen features, on images held out."""
    if options.folder:
        X, y = _images(options.folder, fewest=4)
        network, pipeline = _network(options), _pipeline(options)
        size = {"test_size": HELD_OUT}
    else:
        X, y = _digits()
        network, pipeline = DIGITS, _digits_pipeline()
        size = {"train_size": TRAINED_ON}
    _print_counts(y)
    features = pipeline[0].fit_transform(X)  # of all: bad images show before any training
    X, X_test, rows, rows_test, y, y_test = train_test_split(
        X, features, y, stratify=y, random_state=0, **size
    )
    classifier = FineTunedConvNetClassifier(**network, random_state=0, verbose=1)
    print(f"\naccuracy on {len(y_test)} held-out images, after training on {len(y)}:")
    for name, model, train, test in (
        ("frozen features", pipeline[1:], rows, rows_test),
        ("fine-tuned", classifier, X, X_test),
    ):
        score = model.fit(train, y).score(test, y_test)
        print(f"  {name:20}  {score:.4f}", flush=True)
    stages = dict(zip(*map(classifier.history_.get, ("stage", "kept")), strict=True))
    words = {True: "kept", False: "rolled back"}
    print("\n" + "\n".join(f"stage {n}: {words[kept]}" for n, kept in stages.items() if n))
    print("\nof the fine-tuned:")
    _print_confusion(y_test, classifier.predict(X_test))
    _save(classifier, options.output)
    print(f"\nsaved: {options.output}")
    _draw_curves(classifier, os.path.splitext(options.output)[0] + "-curves.png")


def _draw_curves(classifier, path):
    try:
        display = TrainingHistoryDisplay.from_estimator(classifier)
    except ImportError as error:
        print(f"sktransfer: no curves: {error}", file=sys.stderr)
        return
    display.figure_.savefig(path, dpi=150)
    print(f"its curves: {path}")


def _predict(options):
    """Print label and confidence of each file that is an image."""
    if not os.path.isfile(options.model):
        raise ValueError(f"no file {options.model!r}")
    try:
        model = _load(options.model)
    except Exception as error:  # a file can hold anything
        reason = str(error) or type(error).__name__  # an empty file's has no text
        raise ValueError(f"{options.model!r} cannot be loaded: {reason}") from error
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"{options.model!r} holds a {type(model).__name__}, which has no predict_proba"
        )
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files can be any bytes
    classes = np.asarray(model.classes_).tolist()
    show = _printer(options.format, model.classes_)
    n_shown = 0
    for start in range(0, len(options.files), TOGETHER):
        files, probabilities = _probabilities(model, options.files[start : start + TOGETHER])
        for file, row in zip(files, probabilities, strict=True):
            show(file, classes[row.argmax()], float(row.max()))
        n_shown += len(files)
        sys.stdout.flush()
    return 0 if n_shown == len(options.files) else 1


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


def _show_digits():
    """Digits 5 to 9 from 10 images of each, by pixels and by features."""
    X, y = _digits()
    pipelines = {
        "raw pixels": make_pipeline(LogisticRegression(max_iter=5000)),
        "transferred features": _digits_pipeline(),
    }
    _print_counts(y)
    print("\naccuracy from 10 images a class, mean ± spread over 10 draws:")
    splits = StratifiedShuffleSplit(10, train_size=50, random_state=0)
    for name, pipeline in pipelines.items():
        scores = cross_val_score(pipeline, X, y, cv=splits)
        print(f"  {name:20}  {scores.mean():.3f} ± {scores.std():.3f}")
    train, test = next(splits.split(X, y))
    pipeline.fit(X[train], y[train])
    print("\nof the last, for the first draw:")
    _print_confusion(y[test], pipeline.predict(X[test]))
    return pipeline.fit(X, y)


def _digits():
    """Flattened images of the digits 5 to 9, which the embedded network has not seen."""
    X, y = load_digits(return_X_y=True)
    return X[y >= 5], y[y >= 5]


def _digits_pipeline():
    return make_pipeline(
        PretrainedFeatureTransformer(**DIGITS), LogisticRegression(max_iter=5000)
    )


def _images(folder, fewest):
    """Paths of FOLDER/class/image, and their classes."""
    files = load_image_folder(folder)
    if "filenames" not in files:
        raise ValueError(f"{folder} has the parts {list(files)}: name one of them")
    X, y = files.filenames, np.array(files.target_names)[files.target]
    if len(set(y)) < 2 or min(Counter(y).values()) < fewest:
        raise ValueError(
            f"{folder} needs two or more sub-folders, one for each class, of {fewest} or more "
            f"images each; it has {dict(Counter(y.tolist()))}"
        )
    return X, y


def _network(options):
    """Parameters that both estimators share."""
    return {
        "backbone": options.backbone,
        "weights": options.weights,
        "preprocessing": None if options.preprocessing == "none" else options.preprocessing,
        "backbone_params": options.backbone_params,
    }


def _pipeline(options):
    return make_pipeline(
        PretrainedFeatureTransformer(**_network(options), pooling="avg", verbose=1),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=1000),
    )


def _classify_folder(options):
    """Cross-validate a classifier of the images in FOLDER/class/image."""
    X, y = _images(options.folder, fewest=2)
    pipeline = _pipeline(options)
    _print_counts(y)
    features = pipeline[0].fit_transform(X)  # with one progress bar, and then never again
    folds = StratifiedKFold(min(5, min(Counter(y).values())), shuffle=True, random_state=0)
    predicted = cross_val_predict(pipeline[1:], features, y, cv=folds)
    right = [np.mean(predicted[test] == y[test]) for _, test in folds.split(X, y)]
    print(f"\naccuracy over {len(right)} folds: {np.mean(right):.4f} ± {np.std(right):.4f}")
    print()
    _print_confusion(y, predicted)
    pipeline[1:].fit(features, y)
    return pipeline


def _print_counts(y):
    counts = ", ".join(f"{n} {label}" for label, n in sorted(Counter(y).items()))
    print("images:", counts, flush=True)


def _print_confusion(y, predicted):
    labels = sorted(set(y))
    names = [str(label) for label in labels]
    width = max(map(len, [*names, "10000"])) + 2
    print("true \\ predicted".ljust(18) + "".join(name.rjust(width) for name in names))
    for name, row in zip(names, confusion_matrix(y, predicted, labels=labels), strict=True):
        print(name.ljust(18) + "".join(str(n).rjust(width) for n in row))
