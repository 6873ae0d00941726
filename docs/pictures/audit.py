"""Faults among digits, made by hand, and found: ``python docs/pictures/audit.py``."""

from types import SimpleNamespace

from _digits import TINY, digits, save

from sktransfer import PretrainedFeatureTransformer, audit_images

X, y = digits()
X, y = X[:400], y[:400]
X[7] = 8 + X[7] % 1  # grey all over
X[40] = X[21].reshape(8, 8)[:, ::-1].ravel()
X[60], y[60] = X[10], "nine"
y[85] = "five"
report = audit_images(X, y, estimator=PretrainedFeatureTransformer(**TINY))
print(report)
save(SimpleNamespace(figure_=report.plot(n_images=8)), "audit")
