import pytest

from rpaccel.perfmodel.recpipe_artifact import (
    ARTIFACT,
    ARTIFACT_RANKERS,
    PAPER,
    ArtifactConstants,
    array_point,
    design_steps,
    host_sort_ms,
    stage_phases,
    sub_batched_ms,
)

SMALL, MED, LARGE = (ARTIFACT_RANKERS[name] for name in ("rmsmall", "rmmed", "rmlarge"))

# Latencies [ms] and phases [us] that the artifact's logs agree with; the filter is 0.
STAGES = [
    (LARGE, 4096, 1, "2.0907", (136, 199, 852, 36, 552, 276, 40)),
    (SMALL, 4096, 1, "0.4466", (136, 26, 107, 4, 67, 67, 40)),
    (SMALL, 4096, 4, "0.5573", (136, 100, 107, 7, 67, 101, 40)),
    (SMALL, 4096, 16, "1.1632", (136, 398, 107, 18, 132, 332, 40)),
    (LARGE, 512, 1, "0.3994", (52, 26, 107, 36, 93, 46, 40)),
    (LARGE, 512, 4, "0.8371", (52, 100, 107, 128, 258, 153, 40)),
    (LARGE, 512, 16, "2.3340", (52, 398, 107, 497, 855, 386, 40)),
    (MED, 512, 4, "0.2625", (52, 50, 53, 17, 9, 41, 40)),
    (LARGE, 128, 4, "0.4250", (43, 26, 27, 128, 101, 60, 40)),
]


@pytest.mark.parametrize(("ranker", "items", "size_class", "total", "phases"), STAGES)
def test_stage_latencies_of_the_artifact(ranker, items, size_class, total, phases):
    stage = stage_phases(ranker, items, size_class)
    assert f"{stage.total_ms:.4f}" == total
    shown = (
        stage.link_in_us, stage.rows_dram_us, stage.rows_sram_us, stage.weights_us,
        stage.bottom_us, stage.top_us, stage.link_out_us,
    )  # fmt: skip
    assert shown == pytest.approx(phases, abs=0.6)
    faster = stage_phases(ranker, items, size_class, PAPER)
    # Every row halves, but the filter: it is divided by the clock twice.
    assert faster.total_ms - 1e-3 * faster.filter_us == pytest.approx(
        (stage.total_ms - 1e-3 * stage.filter_us) / 2, rel=1e-12
    )


# Figure 10(a): side -> cycles, utilisation [%].
POINTS = {
    "rmsmall": {32: (54_273, "60.7"), 64: (21_175, "39.6"), 128: (17_015, "12.6")},
    "rmmed": {32: (138_153, "87.6"), 64: (42_635, "72.5"), 128: (30_155, "26.3")},
    "rmlarge": {32: (1_098_011, "98.3"), 64: (320_676, "86.0"), 128: (93_122, "77.1")},
}


@pytest.mark.parametrize("name", POINTS)
def test_figure_10a_is_exact(name):
    for side, (cycles, utilisation) in POINTS[name].items():
        ours = array_point(ARTIFACT_RANKERS[name], side)
        assert (ours[0], f"{100 * ours[1]:.1f}") == (cycles, utilisation)


def test_macs_of_the_concatenating_networks():
    assert [ranker.macs for ranker in (SMALL, MED, LARGE)] == [8_064, 29_568, 263_776]


# Latency [ms] by sub-batches: weights reloaded, resident.
PIPELINES = {
    (4, 4): {1: (1.302, 1.167), 2: (1.325, 1.061), 4: (1.648, 1.127), 8: (2.432, 1.398)},
    (16, 4): {1: (1.908, 1.762), 2: (1.665, 1.500), 4: (1.810, 1.379), 8: (2.520, 1.474)},
}


@pytest.mark.parametrize("classes", PIPELINES)
def test_sub_batches_in_the_artifact_s_terms(classes):
    front, back = (SMALL, 4096, classes[0]), (LARGE, 512, classes[1])
    for count, expected in PIPELINES[classes].items():
        ours = [sub_batched_ms(front, back, count, resident=kept) for kept in (False, True)]
        assert ours == pytest.approx(expected, abs=6e-4)


def test_ideas_in_the_artifact_s_terms():
    steps = design_steps()
    assert [step[0] for step in steps.values()] == pytest.approx(
        [2.480, 1.311, 0.754, 1.302, 1.061], abs=1e-3
    )
    assert [round(step[1]) for step in steps.values()] == [403, 763, 1326, 2547, 2547]


def test_edges():
    one = stage_phases(SMALL, 1, 64)
    assert one.total_ms > 0
    assert host_sort_ms(1) == host_sort_ms(511) < host_sort_ms(512)
    assert ARTIFACT.bytes_per_cycle(64) == ARTIFACT.bytes_per_cycle(1) / 256


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stage_phases(SMALL, 4096, 2), "size_class must be one of 1, 4, 16, 64, not 2"),
        (lambda: stage_phases(SMALL, 0, 1), "items must be at least 1, not 0"),
        (lambda: host_sort_ms(4097), "scores must be at most 4096, not 4097"),
        (lambda: array_point(SMALL, 0), "size must be at least 1, not 0"),
        (
            lambda: sub_batched_ms((SMALL, 4096, 1), (LARGE, 512, 1), 3, resident=True),
            "sub_batches must divide 4096 and 512, not 3",
        ),
        (
            lambda: ArtifactConstants(clock_ns=0.0, bandwidth_gib_s=1.0),
            "clock_ns must be above 0, not 0.0",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()
