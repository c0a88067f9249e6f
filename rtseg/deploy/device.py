"""Devices by name, and the facts of a device without which a time measured on it means little."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rtseg.errors import UserError


def choose_device(name: str | torch.device | None) -> torch.device:
    """The device called `name` ("cpu", "cuda", "cuda:1", "mps"); None takes CUDA or MPS where present, else the CPU.

    Raises:
        UserError: the name is unknown, or this machine does not have the device.
    """
    if name is None:
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if is_present(kind)))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"unknown device '{name}': choose cpu, cuda, cuda:0, cuda:1, … or mps")
    seen = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[device.type]
    if (device.index or 0) >= seen:
        raise UserError(
            f"device '{name}': PyTorch {torch.__version__} sees {seen} {device.type} device{'s' * (seen != 1)} here. "
            f"Choose {f'{device.type}:0 to {device.type}:{seen - 1}, or ' if seen else ''}cpu, "
            "or install a driver and a PyTorch for it"
        )
    return device


def is_present(kind: str) -> bool:
    """Whether this machine has a device of a type: "cpu", "cuda" or "mps"."""
    if kind == "mps":
        return torch.backends.mps.is_available()
    return kind == "cpu" or (kind == "cuda" and torch.cuda.is_available())


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Inside, what this thread runs on a CPU has so many threads, and so have the engines that it builds."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device_name(device: torch.device) -> str:
    """The product's name, as far as the system tells."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def describe_device(device: torch.device) -> dict[str, Any]:
    """Plain JSON: name, and for a CPU cores, threads and instruction set, for a GPU driver, clocks and CUDA version."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return {
            "name": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            **_nvidia_smi(str(properties.uuid)),
        }
    name = {"name": _cpu_name(), "cores": available_cores(), "threads": torch.get_num_threads()}
    if device.type == "mps":
        return {**name, "name": f"{name['name']} (MPS)"}
    return {**name, **_clock(), "instruction_set": torch.backends.cpu.get_cpu_capability(), **other_work()}


def device_line(described: Mapping[str, Any]) -> str:
    """What `describe_device` found, in words: the name, then "key value", comma by comma."""
    facts = (f"{key} {value}" for key, value in described.items() if key != "name" and value is not None)
    return ", ".join([described["name"], *facts])


class OtherWork:
    """Counts the cores that other processes keep busy, from its construction on.

    The load average remembers a minute: a training that has just ended would cast doubt on the figures after it.
    """

    def __init__(self) -> None:
        self._begin = time.monotonic(), busy_seconds(), time.process_time()

    def cores(self) -> float | None:
        """Mean number since then, of the cores that this process may use; None where the system does not tell."""
        begin, busy, own = self._begin
        if busy is None:
            return None
        others = (busy_seconds() or busy) - busy - (time.process_time() - own)
        return round(max(0.0, others) / max(time.monotonic() - begin, 1e-3), 2)  # ticks are coarse: never below 0


def other_work() -> dict[str, float]:
    """How many cores other processes keep busy while this one sleeps; empty where the system does not tell."""
    watch = OtherWork()
    time.sleep(0.5)
    cores = watch.cores()
    return {} if cores is None else {"cores_busy_with_other_work": cores}


def busy_seconds() -> float | None:
    """Seconds for which the cores that this process may use have worked, summed; None if the system is silent."""
    counters = Path("/proc/stat")
    if not counters.is_file() or not hasattr(os, "sched_getaffinity"):
        return None
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0  # of user, nice, system, irq, softirq and steal; without idle and waiting for disks
    for name, *fields in map(str.split, counters.read_text().splitlines()):
        if name in cores:
            counted = [int(field) for field in fields[:8]]
            ticks += sum(counted) - counted[3] - counted[4]
    return ticks / os.sysconf("SC_CLK_TCK")


def _cpu_name() -> str:
    """/proc/cpuinfo names the product where `platform` gives only the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _clock() -> dict[str, int]:
    """Clock of the first core now; empty where it cannot be read."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    found = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return {"clock_mhz": round(found[0])} if found else {}


def instruction_sets() -> list[str]:
    """Instruction sets of this processor that matter for speed, as Linux calls them; empty where unknown."""
    x86 = "avx2 fma avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8 amx_fp16"
    arm = "asimd asimddp sve bf16 i8mm"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return [name for name in f"{x86} {arm}".split() if name in flags]


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nvidia_smi(uuid: str) -> dict[str, str]:
    """Driver, clocks and power limit as the tool prints them; nothing where it is absent or fails."""
    fields = ("driver_version", "clocks.sm", "clocks.max.sm", "power.limit")
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--id=GPU-{uuid}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    values = [value.strip() for value in answer.stdout.strip().split(",")]
    return dict(zip(fields, values, strict=True)) if answer.returncode == 0 and len(values) == len(fields) else {}
