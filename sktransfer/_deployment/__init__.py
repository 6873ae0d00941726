"""A fitted estimator → what predicts without anything else: a file, a Keras model, a service.

Imports the estimators and what lies below them; nothing but the public names imports it.
"""
