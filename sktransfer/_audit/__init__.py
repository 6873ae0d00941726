"""What is wrong with images, found before anything is trained, one kind of fault a file.

In come images and, if there are any, labels; out goes an `AuditReport` of `Finding`s. Imports
the public names, `_displays`, `_images`, `_runtime` and `_exceptions`.
"""
