"""Processes that work together as under ``torchrun``, without it."""

import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import torch

from tests.helpers.scripts import ROOT


def together(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call a function in several new processes that have joined each other, and return what it returns in each.

    Args:
        count: number of processes.
        function: function of a module.
        *arguments: its arguments, the same in all of them.
    """
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    started = [
        context.Process(target=_work, args=(rank, count, port, pipe[1], function, arguments))
        for rank, pipe in enumerate(pipes)
    ]
    for process in started:
        process.start()
    with ThreadPoolExecutor(count) as waiting:
        results = list(waiting.map(lambda pipe: pipe[0].recv() if pipe[0].poll(120) else "no answer", pipes))
    for process in started:
        process.join(20)
        process.kill()
    failures = [result for result in results if isinstance(result, str)]
    assert not failures, "\n".join(failures)
    return [pickle.loads(result) for result in results]


def _work(
    rank: int, count: int, port: int, pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    os.environ |= {"RANK": f"{rank}", "WORLD_SIZE": f"{count}", "MASTER_ADDR": "localhost", "MASTER_PORT": f"{port}"}
    torch.set_num_threads(1)
    from segtrain import distributed

    try:
        with distributed.joined():
            # As bytes: tensors would be shared by files that go with the process.
            pipe.send(pickle.dumps(function(*arguments)))
    except BaseException:
        pipe.send(traceback.format_exc())


def torchrun(
    script: str,
    *overrides: str,
    folder: Path,
    options: Sequence[str] = ("--nproc_per_node=2",),
    prefix: Sequence[str] = (),
) -> "subprocess.Popen[str]":
    """Start a script of the source tree under ``torchrun``, with one thread in each process.

    Args:
        script: "train" or "evaluate".
        *overrides: settings.
        folder: folder to start it in.
        options: those of ``torchrun``.
        prefix: command that runs it, such as one that enters a network namespace.
    """
    runner = [*prefix, sys.executable, "-m", "torch.distributed.run", *options]
    return start(script, *overrides, folder=folder, runner=runner)


def start(
    script: str, *overrides: str, folder: Path, runner: Sequence[str] = (sys.executable,)
) -> "subprocess.Popen[str]":
    """Start a script of the source tree in a process of its own, with one thread.

    Args:
        script: "train" or "evaluate".
        *overrides: settings.
        folder: folder to start it in.
        runner: command that runs scripts.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*runner, str(ROOT / f"{script}.py"), *overrides],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a command; return its exit code, and all that it has printed."""
    out, _ = process.communicate(timeout=600)
    return process.returncode, out


def workers_of(process: "subprocess.Popen[str]", script: str) -> list[psutil.Process]:
    """Return the processes that ``torchrun`` has started, by rank."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if child.cmdline()[2:3] == [str(ROOT / f"{script}.py")] and "RANK" in child.environ():
                found.append((int(child.environ()["RANK"]), child))
    return [child for _, child in sorted(found, key=lambda pair: pair[0])]


def wait_until(holds: Callable[[], Any], seconds: float = 300) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)
