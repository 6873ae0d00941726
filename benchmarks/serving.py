"""The service of ``docs/deployment.md`` against plain Keras: ``python -m benchmarks.serving``.

Both run by uvicorn, each in a process of its own. 1, 4 and 16 clients send photographs of
0.15 megapixels one after the other; the services take turns. Prints the median and the 95th
percentile of a request's milliseconds, and requests a second: medians of the rounds.

The environment variable ``SKTRANSFER_TEST_DATA`` names the folder of real data.
"""

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np

from benchmarks.exports import fitted
from benchmarks.plain import AS_STARTED, SETTING
from sktransfer import bundle

PAGE = Path(__file__).parents[1] / "docs" / "deployment.md"
CLIENTS, REQUESTS, ROUNDS = (1, 4, 16), 48, 3
HEADER = "| clients | service | p50 | p95 | requests a second |\n|---|---|---|---|---|"
BOUNDARY = "photograph-ends-here"


@contextlib.contextmanager
def service(module, folder, environment):
    """The port of a service, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", module, "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--log-level", "error"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if process.poll() is not None:
                raise SystemExit(f"{module} ended")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def body_of(path):
    """A photograph as a browser sends it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photograph"; filename="a"'
    return (
        f"{head}\r\n\r\n".encode() + Path(path).read_bytes() + f"\r\n--{BOUNDARY}--".encode()
    )


def ask(port, bodies):
    """Seconds of one request after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    seconds = []
    for body in bodies:
        started = time.perf_counter()
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - started)
        assert answer.status == 200, content
    connection.close()
    return seconds


def load(port, bodies, n_clients):
    """Median and 95th percentile of milliseconds, and requests a second."""
    parts = [bodies[i::n_clients] for i in range(n_clients)]
    started = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as pool:
        seconds = np.concatenate(list(pool.map(ask, [port] * n_clients, parts)))
    rate = len(bodies) / (time.perf_counter() - started)
    return 1e3 * np.median(seconds), 1e3 * np.percentile(seconds, 95), rate


def main():
    pipeline, paths = fitted()
    bodies = [body_of(path) for path in paths[:REQUESTS]]
    with tempfile.TemporaryDirectory() as folder:
        joblib.dump(bundle(pipeline), Path(folder, "pets.joblib"))
        joblib.dump(pipeline[1:], Path(folder, "plain.joblib"))
        [code] = re.findall(r"```python\n(# service.py\n.*?)```", PAGE.read_text(), re.DOTALL)
        Path(folder, "service.py").write_text(code)
        plain = {SETTING: "", **AS_STARTED, "PLAIN_MODEL": str(Path(folder, "plain.joblib"))}
        plain = {name: value for name, value in plain.items() if value}
        with (
            service("service:app", folder, {}) as ours,
            service("benchmarks.plain_service:app", folder, plain) as keras,
        ):
            compare({"plain Keras": keras, "sktransfer": ours}, bodies)


def compare(ports, bodies):
    print(HEADER)
    first = {name: ask(port, bodies[:1])[0] for name, port in ports.items()}
    for n_clients in CLIENTS:
        figures = {name: [] for name in ports}
        for _ in range(ROUNDS):
            for name, port in ports.items():
                figures[name].append(load(port, bodies, n_clients))
        for name, rounds in figures.items():
            p50, p95, rate = np.median(rounds, axis=0)
            print(f"| {n_clients} | {name} | {p50:.0f} ms | {p95:.0f} ms | {rate:.1f} |")
        faster = np.array(figures["sktransfer"])[:, 2] / np.array(figures["plain Keras"])[:, 2]
        print(
            f"| {n_clients} | ratio | | | {np.median(faster):.2f} [{faster.min():.2f}, "
            f"{faster.max():.2f}] |",
            flush=True,
        )
    print("first request:", {name: f"{1e3 * s:.0f} ms" for name, s in first.items()})


if __name__ == "__main__":
    main()
