"""Types of what users pass, for type checkers and editors."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

Path = str | os.PathLike[str]
Images = Any  # a sequence of paths, encoded files, PIL images or arrays, or an array
Backbone = Any  # a name, a path, or a keras.Model, which is not imported for its type
Preprocessing = str | Callable[[np.ndarray], np.ndarray] | None
Precision = Literal["float32", "bfloat16"]
Engine = Literal["keras", "openvino"]
OnError = Literal["raise", "nan"]
Depth = int | float | str
Unfreeze = Depth | Sequence[Depth]
ClassWeight = Mapping[Any, float] | Sequence[Mapping[Any, float]] | Literal["balanced"] | None
RandomState = int | np.random.RandomState | None
