"""The unit benches: tests of tests/rtl on the netlist of the bench top."""

import cocotb
import numpy as np

from rpaccel.host.core_workload import Workload
from rpaccel.spec.accelerator import load_accelerator
from rpaccel.workloads.random_models import random_ranker
from tb.bench_top import FILTER
from tb.netlist_simulator import on_netlist
from tests.rtl import (
    gather_bench,
    test_bucket_filter,
    test_compute_core,
    test_gather,
    test_list_reader,
    test_ordered_top_n,
    test_requantise,
    test_retrieval_filter,
    test_sigmoid,
)

TINY = load_accelerator("tiny")


@cocotb.test()
@cocotb.parametrize(stall=["none", "both"])
async def bucket_filter(dut, stall):
    test = test_bucket_filter
    await on_netlist(dut, "bucket_filter", test, lambda: test.test_matches_golden(stall))


@cocotb.test()
async def bucket_filter_edges(dut):
    test = test_bucket_filter
    await on_netlist(dut, "bucket_filter", test, test.test_edges)


@cocotb.test()
@cocotb.parametrize(stall=["none", "both"])
async def ordered_top_n(dut, stall):
    test = test_ordered_top_n
    await on_netlist(dut, "ordered_top_n", test, lambda: test.test_matches_golden(stall))


@cocotb.test()
@cocotb.parametrize(stall=["none", "both"])
async def list_reader(dut, stall):
    test = test_list_reader
    await on_netlist(dut, "list_reader", test, lambda: test.test_lists(TINY, stall))


@cocotb.test()
@cocotb.parametrize(stall=["none", "both"])
async def gather(dut, stall):
    await on_netlist(
        dut, "gather", gather_bench, lambda: test_gather.test_matches_golden(TINY, 16, stall)
    )


@cocotb.test()
async def requantise(dut):
    test = test_requantise
    await on_netlist(dut, "requantise", test, lambda: check_requantise(test))


def check_requantise(test):
    cases = test.boundary_cases()[::7]
    assert test.run(cases) == test.expect(cases, -127, 127)


@cocotb.test()
async def sigmoid(dut):
    await on_netlist(dut, "sigmoid", test_sigmoid, test_sigmoid.test_latency_is_the_property)
    await on_netlist(dut, "sigmoid", test_sigmoid, test_sigmoid.test_matches_golden)


@cocotb.test()
@cocotb.parametrize(stall=["none", "both"])
async def score_filter(dut, stall):
    await on_netlist(dut, "score_filter", test_retrieval_filter, lambda: check_filter(stall))


def check_filter(stall):
    test = test_retrieval_filter
    queries = [
        test.query(order, count, k, seed=count, gaps=count % 2 == 0)
        for order, count, k in (
            ("random", 402, 13), ("ascending", 300, 40), ("equal", 160, 40), ("extremes", 201, 1),
            ("one_lane", 130, 20), ("ties", 0, 5), ("ties", 1, 2), ("descending", 41, 40),
        )
    ]  # fmt: skip
    answers, counts = test.run(FILTER, queries, stall)
    test.check(queries, answers)
    assert 0 < counts["passes"] < sum(len(one["scores"]) for one in queries)


@cocotb.test()
@cocotb.parametrize(stall=["none", "both"])
async def compute_core(dut, stall):
    def check():
        ranker = random_ranker(np.random.default_rng(8), TINY)
        test_compute_core.Run(Workload(TINY, ranker, [5, 16, 1])).execute(stall)

    await on_netlist(dut, "compute_core", test_compute_core, check)
