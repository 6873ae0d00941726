"""
What augmentation does to a photograph
======================================

Look at the views before you train on them.
"""

# %%
# A photograph that comes with scikit-learn:

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

flower = load_sample_image("flower.jpg")[:, 100:527].astype(np.float32)


def show(augmentation, title):
    """View 0 is the photograph itself. The others are drawn."""
    views = [flower] + [augmentation.view(flower, b"flower", i) for i in range(1, 5)]
    figure, axes = plt.subplots(1, 5, figsize=(10, 2.4), layout="constrained")
    figure.suptitle(title)
    for number, (ax, view) in enumerate(zip(axes, views, strict=True)):
        ax.imshow(view.astype(np.uint8))
        ax.set_title(f"view {number}", fontsize="small")
        ax.axis("off")
    plt.show()


# %%
# The default turns, shifts and zooms a little. It does not mirror, because letters and digits
# must not be.

from sktransfer import ImageAugmentation

show(ImageAugmentation(), "ImageAugmentation()")

# %%
# Most photographs may be mirrored:

show(
    ImageAugmentation(horizontal_flip=True, brightness_range=0.3),
    "ImageAugmentation(horizontal_flip=True, brightness_range=0.3)",
)

# %%
# This is too much: half of the flower is gone.

show(
    ImageAugmentation(rotation_range=90, width_shift_range=0.5, zoom_range=0.5),
    "ImageAugmentation(rotation_range=90, width_shift_range=0.5, zoom_range=0.5)",
)

# %%
# Give the one you like to a classifier: ``FineTunedConvNetClassifier(augmentation=…)``. A view
# depends on the content of the image, its number and these parameters, and on nothing else. So
# all folds and candidates of a search train on the same views, and the network computes each
# of them once. Another ``seed`` draws other views.
