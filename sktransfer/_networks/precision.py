"""Whether a precision is worth having on this machine."""

from pathlib import Path

from sktransfer._exceptions import warn
from sktransfer._runtime.devices import gpu

CPU = Path("/proc/cpuinfo")  # Linux; elsewhere nothing is known, and nothing said
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"}  # of x86 and of ARM


def warn_if_slow_in_bfloat16():
    """Say so where bfloat16 would be computed by a CPU that has no arithmetic for it."""
    if CPU.is_file() and gpu() is None and not has_bfloat16(CPU.read_text()):
        warn(
            "this CPU has no bfloat16 arithmetic: precision='bfloat16' makes features less "
            "exact and training slower here, and 'float32' is the better choice"
        )


def has_bfloat16(cpuinfo):
    """Whether a CPU, as Linux describes it, computes in bfloat16."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    flags = (value for name, _, value in lines if name.strip() in ("flags", "Features"))
    return not INSTRUCTIONS.isdisjoint(next(flags, "").split())
