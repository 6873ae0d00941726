"""The command line: compare, fine-tune, predict.

In come words from a shell; out go lines on standard output and saved models. Imports what
users import, and `_images`.
"""
