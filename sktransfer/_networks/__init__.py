"""A network's name → a frozen function of batches of pixels.

In comes what users say of a network: a name, a file, a model; out go `NetworkInfo`, which is
known without Keras, and `FrozenNetwork`, which computes rows. Imports `_images`, since how
images are resized is a part of a network, `_runtime` and `_exceptions`.
"""
