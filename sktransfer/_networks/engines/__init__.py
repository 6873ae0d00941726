"""What runs a frozen network, one file each. To add an engine, write one and register it.

An engine is an object with

- `name`: what users write;
- `key()`: what of it changes the last bits of a row, in plain text, found without Keras;
- `batch_sizes`: sizes of the batches it takes, in rising order;
- `compile(prefix, precision)`: a `Prefix` of a network → a function from an array of images
  (n, height, width, 3), of one of those sizes, to a list of arrays, one for each cut.
"""

from sktransfer._networks.engines.keras import KerasEngine
from sktransfer._networks.engines.openvino import OpenVINOEngine

ENGINES = {engine.name: engine for engine in (KerasEngine(), OpenVINOEngine())}
