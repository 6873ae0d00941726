"""Pictures, one file each; matplotlib is imported when one is drawn.

In come fitted estimators and images; out go matplotlib axes. Imports the public names,
`_images` and `_features`.
"""
