"""
An audit before the training
============================

Most bad models come from bad data. Look for it first.
"""

# %%
# Three faults are made by hand: a blank image, the same picture under two labels, and a wrong
# label.

from sklearn.datasets import load_digits

from sktransfer import PretrainedFeatureTransformer, audit_images

X, y = load_digits(return_X_y=True)
X, y = X[y >= 5].reshape(-1, 8, 8), y[y >= 5]
X, y = X[:400].copy(), y[:400].copy()
X[7] = 8
X[60], y[60] = X[10], (y[10] - 4) % 5 + 5
y[85] = (y[85] - 4) % 5 + 5

# %%
# A report prints as text, and is shown with pictures in a notebook.

transformer = PretrainedFeatureTransformer("tiny", input_range=(0, 16))
report = audit_images(X, y, estimator=transformer)
print(report)

# %%
# What was found, as a data frame and in pictures:

report.to_frame().head()

# %%

report.plot(n_images=8)

# %%
# The rows of a kind are an array, to leave these images out.

report.rows("two labels")
