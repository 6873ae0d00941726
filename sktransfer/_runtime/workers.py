"""What a worker of joblib's may use of the machine."""

import functools
import os
import re
from multiprocessing import current_process
from pathlib import Path

DEVICES = Path("/dev")
VISIBLE = "CUDA_VISIBLE_DEVICES"  # read when CUDA is loaded


def granted_threads():
    """How many joblib grants the libraries of a worker; None outside of one."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return int(threads) if threads.isdigit() else None


def gpus_there():
    """The numbers of the NVIDIA GPUs of this machine."""
    return _gpus_in(DEVICES)


@functools.cache
def _gpus_in(devices):
    files = devices.glob("nvidia[0-9]*")
    return sorted(int(file.name.removeprefix("nvidia")) for file in files)


def take_gpus_in_turn():
    """In a worker, have one of several GPUs compute, by the worker's number."""
    worker = re.fullmatch(r"LokyProcess-(\d+)", current_process().name)
    gpus = os.environ.get(VISIBLE, ",".join(map(str, gpus_there()))).split(",")
    if worker and len(gpus) > 1:
        os.environ[VISIBLE] = gpus[(int(worker[1]) - 1) % len(gpus)]
