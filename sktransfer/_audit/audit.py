"""`audit_images`: look at images, and at their labels, before anything is trained."""

from copy import copy
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing
from sklearn.utils.multiclass import type_of_target

from sktransfer._audit.findings import Finding
from sktransfer._audit.pixels import Measures, pixel_findings
from sktransfer._audit.report import AuditReport
from sktransfer._displays.tiles import Pictures, image_estimator_in
from sktransfer._images.formats import UnreadableImageError
from sktransfer._transformer import PretrainedFeatureTransformer
from sktransfer._typing import Images, RandomState

LONGEST = 128  # pixels of the pictures that are looked at
JUDGED = ("binary", "multiclass")  # what labels are, by `type_of_target`
SHARED = (  # parameters of networks that a classifier and a transformer have
    *("backbone", "weights", "backbone_params", "input_size", "preprocessing", "input_range"),
    *("image_shape", "precision", "engine", "max_image_pixels", "cache_dir", "n_jobs"),
)


def audit_images(
    X: Images,
    y: Any = None,
    *,
    estimator: Any = None,
    groups: ArrayLike | None = None,
    n_jobs: int | None = None,
    random_state: RandomState = 0,
) -> AuditReport:
    """Look for what is wrong with images and labels, before anything is trained.

    Found are files that cannot be read, copies (of the same content, or altered: resized,
    recompressed, cropped or mirrored), copies with different labels or in different groups,
    labels that are probably wrong, blank, dark, bright and blurred images, and images of other
    sizes, shapes or colours than the rest.

    Parameters
    ----------
    X : sequence of n_samples images
        As in `PretrainedFeatureTransformer.fit`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Labels. Classes are judged; labels of other kinds are only compared between copies.
    estimator : classifier, or PretrainedFeatureTransformer, default=None
        A classifier of images with `predict_proba`, which judges labels. If there is a
        `PretrainedFeatureTransformer` in it, its features find images that are alike; in a
        fine-tuned one, pooled features of its network do. A transformer alone is followed by a
        logistic regression. None is ``PretrainedFeatureTransformer(pooling="avg")``.
    groups : array-like of shape (n_samples,), default=None
        What must not share images, such as ``"train"`` and ``"test"``, or patients.
    n_jobs : int, default=None
        Number of threads that decode images. None means 1.
    random_state : int, RandomState instance or None, default=0
        Of the folds by which labels are judged.

    Returns
    -------
    report : AuditReport
        Prints as text. Its ``findings``, ``rows(kind)``, ``to_frame()``, ``plot()`` and
        ``label_quality`` have it all.

    Raises
    ------
    ValueError
        X, y and groups have not one length.

    See Also
    --------
    ImagePredictionDisplay : Draws images with the predictions of a fitted model.

    Notes
    -----
    Labels are judged as in confident learning [1]_, by the classifier's probabilities for
    images that it was not trained on. A label is a suspect if the image is as probable for
    another class as images of that class are in the mean, its label has a probability of 0.2
    at most, and fewer than half of its 10 nearest neighbours have it. ``label_quality`` is the
    product of the label's probability p and of what its share s of the neighbours says:
    (p + 0.02) / 1.02 · exp(2 (s − 1)).

    Images are compared with the 3 nearest by their features. Two are altered copies if the
    edges of one, or of its mirror image, correlate with those of a part of the other by 0.88
    or more, in squares of 64 pixels, and their mean colours are alike. Turned copies, parts of
    less than 70 % of a side, and altered copies of images of less than 32 pixels a side are
    not found. ``docs/seeing.md`` says how often it errs.

    What 10 % of the images or more are (dark, say) is no finding: it is what they are like.
    Of fewer than 20, none is compared with the rest.

    References
    ----------
    .. [1] C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in
       Dataset Labels", Journal of Artificial Intelligence Research, 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import PretrainedFeatureTransformer, audit_images
    >>> X, y = load_digits(return_X_y=True)
    >>> X, y = X[:300], y[:300]
    >>> X[7], y[7] = X[5], 9  # the same picture, with another label
    >>> X[9] = 0
    >>> transformer = PretrainedFeatureTransformer(
    ...     "tiny", image_shape=(8, 8), input_range=(0, 16)
    ... )
    >>> report = audit_images(X, y, estimator=transformer)
    >>> report.rows("two labels"), report.rows("blank")
    (array([7]), array([9]))
    """
    from sktransfer._audit.copies import Copies  # which importing us need not wait for

    estimator = estimator or PretrainedFeatureTransformer(pooling="avg")
    pictures = Pictures.of(X, estimator)
    y, groups = _checked(y, "y", len(pictures)), _checked(groups, "groups", len(pictures))
    seen = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_seen)(pictures, i) for i in range(len(pictures))
    )
    findings = [
        Finding("unreadable", i, one) for i, one in enumerate(seen) if type(one) is str
    ]
    rows = np.array([i for i, one in enumerate(seen) if type(one) is not str], dtype=int)
    if not len(rows):
        return AuditReport(findings, pictures)
    thumbnails, X = [seen[i] for i in rows], _safe_indexing(X, rows)
    findings += pixel_findings(Measures.of(thumbnails), rows)
    features = np.asarray(_transformer_of(estimator).fit(X).transform(X))
    copies = Copies.among(thumbnails, features, rows)
    findings += copies.findings(y, groups)
    quality = None
    if y is not None and type_of_target(y) in JUDGED:
        doubts = _doubts(estimator, X, y[rows], features, random_state)
        findings += doubts.findings(rows) if doubts else []
        quality = doubts.qualities(rows, len(pictures)) if doubts else None
    return AuditReport(findings, pictures, quality)


def _checked(values, name, n):
    """An array of a value for each image, or None."""
    if values is None:
        return None
    values = np.asarray(values)
    if len(values) != n:
        raise ValueError(f"X has {n} images and {name} {len(values)} values")
    return values


def _seen(pictures, position):
    """The `Thumbnail` of an image, or what is wrong with it in words."""
    try:
        return pictures.thumbnail(position, LONGEST)
    except UnreadableImageError as error:
        return str(error)


def _transformer_of(estimator):
    """What makes features by which images are compared."""
    ours = image_estimator_in(estimator)
    if isinstance(ours, PretrainedFeatureTransformer):
        return copy(ours)
    if ours is None:
        return PretrainedFeatureTransformer(pooling="avg")
    shared = {name: getattr(ours, name) for name in SHARED}
    return PretrainedFeatureTransformer(**shared, pooling="avg")


def _doubts(estimator, X, y, features, random_state):
    """What speaks against labels, by a classifier of features or of images."""
    from sklearn.linear_model import LogisticRegression

    from sktransfer._audit.labels import doubts_of

    if isinstance(estimator, PretrainedFeatureTransformer):
        estimator = make_pipeline(
            estimator, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
        )
    if isinstance(estimator, Pipeline) and isinstance(
        estimator[0], PretrainedFeatureTransformer
    ):
        estimator, X = estimator[1:], features  # which are there already
    return doubts_of(clone(estimator), X, y, features, random_state)
