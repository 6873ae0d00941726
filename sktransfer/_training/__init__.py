"""Rows → a fitted network.

In come rows, targets and the parameters of a fit; out goes a `FittedNetwork`, which predicts.
Imports `_features`, `_images`, `_networks`, `_runtime` and `_exceptions`.
"""
