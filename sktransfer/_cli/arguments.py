"""What may be said on the command line, and what of it is wrong before any work."""

import argparse
import json
import os
import sys

# Before TensorFlow and matplotlib are imported: the start-up messages of the one are not
# about the user's job, and no window of the other is wanted.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

from sktransfer import SktransferError, __version__
from sktransfer._cli import auditing, learning, predicting
from sktransfer._cli.learning import BACKBONE
from sktransfer._cli.tasks import TASKS

DESCRIPTION = """\
Classify images, with a folder that has a sub-folder for each class; or predict labels or
numbers of images, with a table of them. Without a command, or without a folder, it is shown on
handwritten digits what features of a network bring that has seen other digits only.
"""


def run(arguments):
    """Run the command line; return its exit code."""
    options = _parser().parse_args(arguments or ["compare"])
    sys.stdout.reconfigure(errors="backslashreplace")  # names of classes can be any text
    try:
        code = options.job(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as `| head` leaves behind
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SktransferError, ValueError, OSError) as error:
        print(f"sktransfer: {error}", file=sys.stderr)
        return 1
    return code


def _parser():
    parser = argparse.ArgumentParser("sktransfer", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"sktransfer {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = _shared()
    _add_compare(commands, shared)
    _add_fine_tune(commands, shared)
    _add_predict(commands)
    _add_audit(commands, shared)
    return parser


def _shared():
    """What may be said of images and networks wherever one is trained."""
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument
    add(
        "folder",
        nargs="?",
        type=_folder,
        metavar="FOLDER",
        help="FOLDER/class/image; or a .csv file with a header, whose first column names "
        "images, and the others a class, 0 or 1 for each label, or numbers",
    )
    add(
        "--task",
        choices=tuple(TASKS),
        help="what is predicted (default: classes of a folder; of a table as "
        "scikit-learn's type_of_target says)",
    )
    add(
        "--backbone-params",
        type=_parameters,
        metavar="JSON",
        help="""such as '{"alpha": 0.75}'""",
    )
    add("--weights", default="pretrained", help="a file of weights")
    add(
        "--preprocessing",
        default="backbone",
        help="what a .keras file of your own takes: what a network takes that has a name "
        "(such as resnet50), pixels from 0 to 1 (rescale), or from 0 to 255 (none)",
    )
    add(
        "--input-size",
        type=_size,
        metavar="PIXELS",
        help="of what the network takes, such as 224 or 224x160 (height x width)",
    )
    add(
        "--on-error",
        default="raise",
        choices=("raise", "nan"),
        help="nan leaves files out that are no images (default: raise, which lists them)",
    )
    add("--seed", type=int, default=0, help="of folds and training (default: 0)")
    add(
        "--n-jobs",
        type=int,
        help="threads that decode; -1 is all cores (default: one for every four cores)",
    )
    add("--clear-cache", action="store_true", help="first forget all features computed so far")
    return parser


def _add_compare(commands, shared):
    text = (
        "Cross-validate a logistic regression on features of a network, or of several. "
        "Without a folder, compare it with raw pixels, on digits."
    )
    parser = commands.add_parser("compare", parents=[shared], description=text, help=text)
    add = parser.add_argument
    add(
        "--backbone",
        action="append",
        metavar="NAME",
        help=f"a name, or a .keras file (default: {BACKBONE}); several, each after a "
        "--backbone of its own, are compared",
    )
    add("--layer", help="whose features are taken (default: the last)")
    add("--pooling", default="avg", choices=("avg", "max", "none"), help="(default: avg)")
    add(
        "--output",
        type=_output,
        metavar="FILE",
        help="save the fitted Pipeline, of several the best, as .joblib or .skops",
    )
    parser.set_defaults(job=learning.compare)


def _add_fine_tune(commands, shared):
    text = (
        "Train the network along, compare it with frozen features on images that are held "
        "out, and save the better one, trained on all images."
    )
    parser = commands.add_parser("fine-tune", parents=[shared], description=text, help=text)
    add = parser.add_argument
    _add_backbone(parser)
    add(
        "--unfreeze",
        type=_unfreeze,
        default="auto",
        help="how many layers, what share, or from which layer up (default: auto)",
    )
    add(
        "--pooling",
        default="auto",
        choices=("auto", "avg", "max", "none"),
        help="(default: auto)",
    )
    add(
        "--output",
        type=_output,
        default="fine-tuned.joblib",
        metavar="FILE",
        help="save the model as .joblib or .skops, and the curves of its training in "
        "NAME-curves.png (default: fine-tuned.joblib)",
    )
    parser.set_defaults(job=learning.fine_tune)


def _add_backbone(parser):
    text = f"a name, or a .keras file (default: {BACKBONE})"
    parser.add_argument("--backbone", default=BACKBONE, help=text)


def _add_predict(commands):
    text = "Print the label of each image and how probable the model holds it, or its numbers."
    parser = commands.add_parser(
        "predict",
        description=text,
        help=text,
        epilog="Loading a .joblib file runs the code in it: load none that you do not trust. "
        "Loading a .skops file runs none.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that --output saved")
    add("files", metavar="FILES", nargs="+", help="images, or folders of them")
    add(
        "--format",
        default="text",
        choices=("text", "csv", "jsonl"),
        help="a table, comma-separated values, or an object of JSON a line",
    )
    parser.set_defaults(job=predicting.predict)


def _add_audit(commands, shared):
    text = (
        "Look for what is wrong with images and labels: files that cannot be read, copies, "
        "doubtful labels, blank, dark, bright and blurred images, odd sizes and colours. "
        "Copies between parts of a folder (train, test) are found too."
    )
    parser = commands.add_parser("audit", parents=[shared], description=text, help=text)
    _add_backbone(parser)
    parser.add_argument(
        "--output",
        type=_report,
        metavar="FILE",
        help="save all findings as .csv, or with pictures as .html",
    )
    parser.set_defaults(job=_audit)


def _audit(options):
    if options.folder is None:
        raise ValueError("audit needs a folder, or a table, of images")
    return auditing.audit(options)


def _report(text):
    if not text.endswith((".csv", ".html")):
        raise argparse.ArgumentTypeError(f"{text!r} ends in neither .csv nor .html")
    return _output(text)


def _folder(text):
    if not os.path.isdir(text) and not (text.endswith(".csv") and os.path.isfile(text)):
        raise argparse.ArgumentTypeError(f"no folder {text!r}")
    return text


def _output(text):
    if not os.access(os.path.dirname(text) or ".", os.W_OK):
        raise argparse.ArgumentTypeError(f"no folder for {text!r} that can be written")
    if os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file in it")
    return text


def _parameters(text):
    try:
        parameters = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(parameters, dict):
        raise argparse.ArgumentTypeError(
            f"""{text!r} is no object of JSON, such as '{{"alpha": 0.75}}'"""
        )
    return parameters


def _size(text):
    try:
        height, _, width = text.partition("x")
        return int(height), int(width or height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not 224 or 224x160") from None


def _unfreeze(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
