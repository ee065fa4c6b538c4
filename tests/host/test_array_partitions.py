"""Partitions of whole arrays, 32 x 32 and 64 x 64 MACs, on the Verilated netlist."""

import numpy as np
import pytest
from amaranth.hdl import Shape

from rpaccel.rtl.tokens import tile_output_layout
from tests.host.array_netlist import ArrayNetlist
from tests.rtl.array_bench import corner, partitions, random_bursts
from tests.rtl.conftest import small
from tests.streams import slow_but

A64 = {"weight_words": 4096, "param_entries": 2048, "sub_batch_max": 128}
CONFIGS = {
    "A32": small(32, block_size=8, weight_words=1024, param_entries=1024, sub_batch_max=64),
    "A64": small(64, block_size=16, **A64),
    "A64 in 64 blocks": small(64, block_size=8, **A64),
}
LANES = {4: 16, 8: 24}  # by blocks of a side


@pytest.fixture(scope="module", params=slow_but((), CONFIGS, nightly=list(CONFIGS)[1:]))
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def netlist(config):
    return ArrayNetlist(config, LANES[config.blocks])


def stimulus(traffic, bursts):
    """What each cycle drives, by path of the port."""
    end = max(one.end for lane in traffic for one in lane) + 4
    drive = [{} for _ in range(end)]
    for lane, (ones, lane_bursts) in enumerate(zip(traffic, bursts, strict=True)):
        for one, burst in zip(ones, lane_bursts, strict=True):
            for name, value in corner(burst.rectangle).items():
                for cycle in range(burst.start, one.end + 1):
                    drive[cycle]["partition", lane, name] = value
            for cycle, load in one.loads.items():
                drive[cycle] |= {("lane", lane, "load", name): v for name, v in load.items()}
            for r, tokens in one.tokens.items():
                for cycle, token in tokens.items():
                    place = ("lane", lane, "i", r)
                    drive[cycle] |= {(*place, name): value for name, value in token.items()}
    return drive


def fields(layout, raw):
    """The fields of a structure as plain integers."""
    values = {}
    for name, field in layout:
        shape = Shape.cast(field.shape)
        value = raw >> field.offset & (1 << shape.width) - 1
        values[name] = value - (value >> shape.width - 1 << shape.width) * shape.signed
    return values


def run(netlist, config, bursts):
    """Check that every lane gets its results in their cycles and places, and no more."""
    layout = tile_output_layout(config)
    traffic = [[burst.traffic(config) for burst in lane] for lane in bursts]
    expected = {
        (cycle, lane, r, c): result
        for lane, ones in enumerate(traffic)
        for one in ones
        for (cycle, r, c), result in one.results.items()
    }
    got = {
        (cycle, lane, r, c): fields(layout, raw)
        for cycle, outs in enumerate(netlist.results(stimulus(traffic, bursts)))
        for (_, lane, _, r, c), raw in outs.items()
    }
    assert sorted(got) == sorted(expected)
    named = {at: {name: got[at][name] for name in expected[at]} for at in expected}
    assert named == expected
    return got


def test_lanes_run_at_the_same_time(netlist, config, subtests):
    for name, split in partitions(config.blocks).items():
        with subtests.test(name):
            rng = np.random.default_rng(len(name))
            run(netlist, config, random_bursts(rng, config, [split], layers=4))


def test_a_lane_alone_gives_the_same_bits(netlist, config):
    rng = np.random.default_rng(1)
    bursts = random_bursts(rng, config, [partitions(config.blocks)["8 + 2"]], layers=2)
    together = run(netlist, config, bursts)
    for lane in range(len(bursts)):
        alone = run(netlist, config, [one if n == lane else [] for n, one in enumerate(bursts)])
        assert alone == {at: result for at, result in together.items() if at[1] == lane}


def test_repartition_between_bursts_without_reset(netlist, config):
    rng = np.random.default_rng(2)
    splits = partitions(config.blocks)
    order = [*splits, "8 + 2", *rng.permutation(list(splits)), "8 + 2", "whole"]
    run(netlist, config, random_bursts(rng, config, [splits[name] for name in order], layers=1))


def test_a_check_of_the_netlist_stops_it(netlist, config):
    rng = np.random.default_rng(3)
    (burst,) = random_bursts(rng, config, [partitions(config.blocks)["whole"]], layers=1)[0]
    with pytest.raises(RuntimeError, match=r"tile 0, 0: lanes"):
        run(netlist, config, [[burst], [burst]])
