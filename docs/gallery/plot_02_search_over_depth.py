"""
A search over depth
===================

How many layers should be trained? `GridSearchCV` compares them on your data.
"""

# %%
# Fifty images to learn from, of digits that the network has not seen.

from sklearn.datasets import load_digits

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]

# %%
# ``unfreeze`` says what is trained after the head: 0 is nothing, 1 is the last layer that has
# a kernel (a convolution or a dense layer), ``"block3"`` is all from that block up. `summary`
# shows it before any training.

from sktransfer import FineTunedConvNetClassifier

classifier = FineTunedConvNetClassifier(
    "tiny",
    input_range=(0, 16),
    unfreeze="block3",
    augmentation_views=4,
    early_stopping=False,
    fine_tune_epochs=5,
    random_state=0,
)
print(classifier.summary())

# %%
# A layer that is *cached* runs once for each view of an image. Its results are kept on disk.
# So the candidates and the folds of this search share most of the work.

from sklearn.model_selection import GridSearchCV

depths = [0, 1, "block3"]
search = GridSearchCV(classifier, {"unfreeze": depths}, cv=3).fit(X[:50], y[:50])

# %%
# Look at the spread as well as at the mean. With few images, a small difference means nothing.

import matplotlib.pyplot as plt

means = search.cv_results_["mean_test_score"]
spreads = search.cv_results_["std_test_score"]
plt.errorbar(range(len(depths)), means, spreads, marker="o", capsize=4, linestyle="")
plt.xticks(range(len(depths)), [f"unfreeze={depth!r}" for depth in depths])
plt.ylabel("accuracy, 3 folds")
plt.show()

# %%
# On images that no fold has seen:

print(f"{search.best_params_}: {search.score(X[50:], y[50:]):.3f}")

# %%
# If you do not want to search: ``unfreeze="auto"``, the default, compares the head alone, half
# of the network and the whole network on images that it holds out.
