"""What runs a frozen network, one file each. To add an engine, write one and register it.

An engine is an object with

- `name`: what users write;
- `key()`: what of it changes the last bits of a row, in plain text, found without Keras;
- `batch_sizes(info)`: of a network, sizes of the batches it takes, in rising order;
- `takes(dtypes)`: of images of these types, the type of pixels in which it takes a batch:
  "uint8" or "float32";
- `compile(prefix, precision)`: of a `Prefix` of a network, an object with
  - `submit(pixels)`: begin to compute on an array (n, height, width, 3) of such a size;
    threads may do so at the same time;
  - `fetch(begun)`: wait for that; a list of arrays, one for each cut.
"""

from sktransfer._networks.engines.keras import KerasEngine
from sktransfer._networks.engines.openvino import OpenVINOEngine

ENGINES = {engine.name: engine for engine in (KerasEngine(), OpenVINOEngine())}
