"""
Photographs and columns of a table, side by side
================================================

A table often has a column of paths and other columns. `ColumnTransformer
<sklearn.compose.ColumnTransformer>` sends each to its own transformer.
"""

# %%
# We write some digits into files, so that there is a table of paths. ``ink`` is a number that
# somebody measured, ``pen`` is a category, and both tell a little about the digit.

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

images, digit = load_digits(return_X_y=True)
images, digit = images[digit >= 5][:300].reshape(-1, 8, 8), digit[digit >= 5][:300]
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)

paths = [folder / f"{i}.png" for i in range(len(images))]
for path, image in zip(paths, images, strict=True):
    Image.fromarray((image * 15).astype(np.uint8)).save(path)

table = pd.DataFrame(
    {
        "path": [str(path) for path in paths],
        "ink": images.sum(axis=(1, 2)) + rng.normal(0, 20, len(images)),
        "pen": np.where(rng.random(len(images)) < 0.8, digit % 2, 1 - digit % 2),
    }
)
table["pen"] = table["pen"].map({0: "blue", 1: "black"})
table["path"] = table["path"].astype(object)
table.drop(columns="path").head()

# %%
# A column name in brackets, ``["path"]``, hands over a table of one column. That is what
# scikit-learn's transformers expect, and ours takes it too.

from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktransfer import PretrainedFeatureTransformer

photographs = make_pipeline(
    PretrainedFeatureTransformer("tiny", pooling="avg"), StandardScaler()
)
columns = make_column_transformer(
    (photographs, ["path"]), (StandardScaler(), ["ink"]), (OneHotEncoder(), ["pen"])
)
pipe = make_pipeline(columns, LogisticRegression(max_iter=1000))
pipe

# %%
# With 20 labelled rows, the columns help the photographs:

from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

few = StratifiedShuffleSplit(n_splits=10, train_size=20, random_state=0)
alone = make_pipeline(photographs, LogisticRegression(max_iter=1000))
both = cross_val_score(pipe, table, digit, cv=few)
only = cross_val_score(alone, table[["path"]], digit, cv=few)
print(f"photographs alone       {only.mean():.3f} ± {only.std():.3f}")
print(f"photographs and columns {both.mean():.3f} ± {both.std():.3f}")

# %%
# If you use skrub, give the other columns to its ``TableVectorizer``, in the same
# `ColumnTransformer <sklearn.compose.ColumnTransformer>`.
