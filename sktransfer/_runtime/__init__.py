"""The process: Keras imported in one place, threads, interrupts, progress, tasks of callbacks.

Knows nothing of images or networks. Imports `_exceptions` only.
"""
