"""The C driver, compiled and run against the Verilated device and its C++ memory."""

import struct
import subprocess

import numpy as np
import pytest

from rpaccel.host.c_job import C_DIR, write_job
from rpaccel.host.compile import compile_models
from rpaccel.host.header import c_header
from rpaccel.host.verilated_device import build_simulator
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.random_models import random_query, random_ranker, shared_schema

TINY = load_accelerator("tiny")
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def build_example(folder, library):
    """Compile the example for TINY and `library`; return the program."""
    (folder / "rpaccel.h").write_text(c_header(TINY))
    program = folder / "example"
    sources = [C_DIR / "example.c", C_DIR / "rpaccel_driver.c"]
    for source in sources:  # g++ is there wherever the simulator was built
        subprocess.run(
            ["g++", "-x", "c", *FLAGS, f"-I{folder}", f"-I{C_DIR}", "-c", source,
             "-o", folder / f"{source.stem}.o"],
            check=True,
        )  # fmt: skip
    objects = [folder / f"{source.stem}.o" for source in sources]
    subprocess.run(
        ["g++", *objects, library, f"-Wl,-rpath,{library.parent}", "-o", program], check=True
    )
    return program


@pytest.mark.slow
def test_c_program_gets_the_software_devices_answers(tmp_path):
    rng = np.random.default_rng(3)
    small = random_ranker(rng, TINY, name="small")
    rankers = [small, shared_schema(rng, TINY, small, name="large", dim=16)]
    compiled = compile_models(rankers, TINY)
    queries = [random_query(rng, TINY, rankers, items=items) for items in (1, 64, 20, 33, 7)]
    job = tmp_path / "job.bin"
    answers = write_job(job, TINY, compiled, queries, 1 << 20)

    program = build_example(tmp_path, build_simulator(TINY))
    lines = subprocess.run(
        [program, job], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    found, at = {}, 0
    while at < len(lines):
        tag, status, count = (int(word) for word in lines[at].split())
        assert tag not in found
        rows = [tuple(int(word) for word in line.split()) for line in lines[at + 1 :][:count]]
        found[tag] = status, rows
        at += 1 + count
    assert found.pop(0) == (0, [])  # LOAD
    assert set(found) == {answer.tag for answer in answers}
    for answer in answers:
        want = list(
            zip(answer.ids.tolist(), answer.logits.tolist(), answer.ctr.tolist(), strict=True)
        )
        assert found[answer.tag] == (int(answer.status), want)
        assert want


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "value", "message"),
    [
        (3, 0, "open: error -6"),  # entries of the rings
        (3, 3, "open: error -6"),
        (3, 1 << 16, "open: error -6"),
        (1, 64, "open: error -6"),  # where one of them is
        (4, 9, "region: error -6"),
    ],
)
def test_c_program_refuses_what_a_device_cannot_take(tmp_path, word, value, message):
    words = [1 << 16, 0x1000, 0x2000, 4, 1, *[0, 64, 3] * 9]
    words[word] = value
    job = tmp_path / "job.bin"
    job.write_bytes(struct.pack(f"<{len(words)}Q", *words))
    program = build_example(tmp_path, build_simulator(TINY))
    done = subprocess.run([program, job], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"{message}\n")
