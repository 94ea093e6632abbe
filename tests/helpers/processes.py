"""Processes that work together as under ``torchrun``, without it."""

import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import torch


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
