"""
Features of several layers
==========================

Early layers see edges, late layers see objects. Which helps you?
"""

# %%
# Each layer of the network is tried by itself.

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureTransformer

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8)[:300], y[y >= 5][:300]
pipe = Pipeline(
    [
        ("features", PretrainedFeatureTransformer("tiny", pooling="avg", input_range=(0, 16))),
        ("scale", StandardScaler()),
        ("classify", LogisticRegression(C=0.1)),
    ]
)
layers = ["block1_pool", "block2_pool", "block3_pool", ["block2_pool", "block3_pool"]]
search = GridSearchCV(pipe, {"features__layer": layers}, cv=5).fit(X, y)

# %%
# A list of layers gives the features of all of them, side by side. They are computed in one
# pass through the network.

import matplotlib.pyplot as plt

names = ["block1_pool", "block2_pool", "block3_pool", "block2_pool\nand block3_pool"]
means, spreads = (search.cv_results_[f"{what}_test_score"] for what in ("mean", "std"))
plt.errorbar(means, range(4), xerr=spreads, marker="o", linestyle="", capsize=4)
plt.yticks(range(4), names)
plt.xlabel("accuracy, 5 folds")
plt.show()

# %%
# Which layers a network has:

PretrainedFeatureTransformer("tiny", image_shape=(8, 8)).layer_names()
