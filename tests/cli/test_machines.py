"""Two machines, played by two network namespaces of this one: one of them is cut off, and comes back."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.test_processes import RUN, entries, lines_of, state
from tests.helpers.processes import finished, torchrun, wait_until, workers_of
from tests.helpers.scripts import data_of, write_data

ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def machines() -> Iterator[list[str]]:
    """Names of two namespaces with a cable between them, and a loopback of their own."""
    names = [f"machine{side}{uuid4().hex[:6]}" for side in "ab"]
    made: list[str] = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
            ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces are not permitted here: {getattr(error, 'stderr', error)}")
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.mark.slow
def test_a_machine_that_is_cut_off_comes_back(machines: list[str], tmp_path: Path) -> None:
    """The other one notices, waits for it, and both go on from the last state."""
    data = data_of(write_data(tmp_path / "data", 9))
    given = [*RUN, *data, "trainer.batch_size=2", "trainer.max_steps=40", "trainer.checkpoint_minutes=0.01"]

    def machine(number: int) -> "subprocess.Popen[str]":
        options = [
            "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint={ADDRESSES[0]}:29613",
            # Both have this machine's name, by which torchrun would find out whose the meeting point is.
            f"--rdzv_conf=is_host={1 - number}", "--rdzv_id=machines", "--max-restarts=3",
            f"--local-addr={ADDRESSES[number]}",
        ]  # fmt: skip
        variables = ["GLOO_SOCKET_IFNAME=cable", "SEGTRAIN_LOST_AFTER=20", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"]
        prefix = ["ip", "netns", "exec", machines[number], "env", *variables]
        return torchrun(
            "train", *given, "output_dir=run", "resume=auto", folder=tmp_path, options=options, prefix=prefix
        )

    first, second = machine(0), machine(1)
    written = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: written.exists() and len(written.read_bytes().splitlines()) > 5)
    ip("-n", machines[1], "link", "set", "cable", "down")
    for process in [*workers_of(second, "train"), second]:
        os.kill(process.pid, signal.SIGKILL)
    second.communicate()
    (before,) = workers_of(first, "train")
    wait_until(lambda: not before.is_running())  # it has waited for the other one
    ip("-n", machines[1], "link", "set", "cable", "up")
    outcomes = [finished(process) for process in (first, machine(1))]
    assert [code for code, _ in outcomes] == [0, 0], "\n".join(out for _, out in outcomes)
    (line,) = lines_of(outcomes[0][1], "error: ")
    assert "or its machine is cut off" in line
    assert lines_of(outcomes[0][1], "resuming ")
    assert state(tmp_path / "run")["step"] == 40
    assert [e["step"] for e in entries(tmp_path / "run") if "train/loss" in e] == list(range(1, 41))
