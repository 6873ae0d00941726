"""What is wrong with a folder or a table of images."""

import os

import numpy as np

from sktransfer import PretrainedFeatureTransformer, audit_images, load_image_folder
from sktransfer._cli.learning import network_parameters
from sktransfer._cli.tables import Table


def audit(options):
    """Print what is wrong with images, and save it if that is asked for."""
    X, y, groups = _images(options.folder)
    transformer = PretrainedFeatureTransformer(
        options.backbone, **network_parameters(options), pooling="avg", verbose=1
    )
    report = audit_images(
        X,
        y,
        estimator=transformer,
        groups=groups,
        n_jobs=options.n_jobs,
        random_state=options.seed,
    )
    print(report)
    if options.output:
        _save(report, options.output)
        print(f"\nsaved: {options.output}")
    return 0


def _images(folder):
    """Paths, what is known of the images, and the parts that they are in, if any."""
    if not os.path.isdir(folder):
        table = Table.of(folder)
        values = table.values[:, 0] if table.values.shape[1] == 1 else table.values
        return table.files, values, None
    images = load_image_folder(folder)
    parts = {None: images} if "filenames" in images else images
    X = np.concatenate([part.filenames for part in parts.values()])
    y = np.concatenate([np.array(p.target_names)[p.target] for p in parts.values()])
    groups = np.repeat(list(parts), [len(part.filenames) for part in parts.values()])
    return X, y, None if None in parts else groups


def _save(report, path):
    if path.endswith(".html"):
        text = report._repr_html_()
        page = f'<!doctype html><meta charset="utf-8"><title>Audit</title>{text}'
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)
    else:
        report.to_frame().to_csv(path, index=False)
