"""The lines that TensorFlow writes as it starts, before it reads how much it is to say."""

import contextlib
import os
import re
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # whoever sets it to 0 asks for all of them
LINES = re.compile(
    rb"absl::InitializeLog|oneDNN custom operations|cudart_stub|cuda_executor|cuInit"
    rb"|cpu_feature_guard|rebuild TensorFlow|register cu[A-Z]+ factory|computation_placer"
)


@contextlib.contextmanager
def without_start_up_lines():
    """Hold back what is written on standard error; at the end, write all but those lines.

    They come from C code, so it is the file descriptor that is replaced for a moment.
    """
    if os.environ.get(LEVEL) == "0":
        yield
        return
    try:
        written = tempfile.TemporaryFile()  # noqa: SIM115, closed below
        standard_error = os.dup(2)
    except OSError:  # no room for a file, or standard error closed, as in some services
        yield
        return
    with written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            written.seek(0)
            with contextlib.suppress(OSError):  # nobody reads any more
                os.write(2, b"".join(line for line in written if not LINES.search(line)))
