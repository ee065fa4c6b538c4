"""A small machine with a retrieval engine, in software, with two rankers and a corpus."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from rpaccel.golden.quantised import QuantisedRanker
from rpaccel.host.bus import Bus
from rpaccel.host.compile import compile_models
from rpaccel.host.corpus import Corpus
from rpaccel.host.driver import Driver
from rpaccel.host.software_device import SoftwareDevice
from rpaccel.host.verilated_device import VerilatedDevice, build_simulator
from rpaccel.spec.accelerator import AcceleratorConfig, load_accelerator
from rpaccel.spec.retrieval import Metric
from rpaccel.workloads import random_models

MEMORY_BYTES = 1 << 21
CORPUS_BYTES = 1 << 20


def machine(**changes: object) -> AcceleratorConfig:
    engine = {"name": "edge with an engine", "retrieval_queries": 2, "retrieval_k_max": 100}
    edge = load_accelerator("edge").model_dump()
    return AcceleratorConfig(**(edge | engine | changes))


def software(config: AcceleratorConfig) -> Bus:
    return SoftwareDevice(config, MEMORY_BYTES)


def netlist(config: AcceleratorConfig) -> Bus:
    return VerilatedDevice(config, memory_bytes=MEMORY_BYTES, library=build_simulator(config))


DEVICES: dict[str, Callable[[AcceleratorConfig], Bus]] = {"software": software, "netlist": netlist}
new_device = software  # what `open_driver` drives


@pytest.fixture(params=["software", pytest.param("netlist", marks=pytest.mark.slow)])
def device(request, monkeypatch):
    """Run a test with the software device, and with the netlist."""
    monkeypatch.setattr(sys.modules[__name__], "new_device", DEVICES[request.param])


def open_driver(config: AcceleratorConfig | None = None, **options: int) -> Driver:
    """Return the driver of a device of its own."""
    sizes = {"depth": 4, "update_depth": 8, "corpus_bytes": CORPUS_BYTES, "feature_bytes": 1 << 18}
    built = config or machine()
    return Driver(new_device(built), built, MEMORY_BYTES, **(sizes | options))


def load_rankers(driver: Driver, rng: np.random.Generator) -> list[QuantisedRanker]:
    """Load three random rankers of the same features and return them by slot."""
    first = random_models.random_ranker(rng, driver.config, name="r0", dim=16)
    others = [
        random_models.shared_schema(rng, driver.config, first, name=name, dim=16)
        for name in ("r1", "r2")
    ]
    rankers = [first, *others]
    driver.load_models(compile_models(rankers, driver.config))
    return rankers


def random_rows(rng: np.random.Generator, rows: int, dim: int, spread: int = 128) -> np.ndarray:
    return rng.integers(-spread, spread, (rows, dim)).astype(np.int8)


def random_corpus(
    driver: Driver, rng: np.random.Generator, metric: Metric, rows: int = 200, dim: int = 24
) -> tuple[Corpus, np.ndarray, np.ndarray]:
    """Return a corpus with room for 40 more rows, its rows padded, and which are live."""
    values, live = random_rows(rng, rows, dim, 3), rng.random(rows) < 0.9
    corpus = Corpus(driver, values, metric, live=live, capacity=rows + 40)
    padded = np.zeros((rows, corpus.row_bytes), dtype=np.int8)
    padded[:, :dim] = values
    return corpus, padded, live
