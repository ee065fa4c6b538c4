"""The score filter as a Verilated netlist, fed by C++: whole scans at K = 1024."""

import subprocess

import numpy as np
import pytest

from rpaccel.golden.retrieval import top_k
from rpaccel.host.verilator import BUILD_DIR, build_program
from rpaccel.perfmodel import retrieval
from rpaccel.perfmodel.retrieval_latency import queued_rows
from rpaccel.perfmodel.retrieval_overrun import scores_of
from rpaccel.rtl.netlist import write_netlist
from rpaccel.rtl.retrieval_filter import ScoreFilter
from rpaccel.spec.retrieval import RetrievalConfig
from rpaccel.spec.retrieval_buckets import place_buckets, sample_places

# One query after the other, all as fast as they are taken. Per query in: k, base, shift, rows,
# scores; out: nine numbers, the answer's size, (score, id) of its rows; all int32.
MAIN = r"""
#include "Vrpaccel.h"
#include "verilated.h"
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>
static std::vector<int32_t> input;
static void put(uint32_t* words, int at, uint64_t value, int bits) {
    for (int i = 0; i < bits; i++, at++) {
        if (value >> i & 1) words[at / 32] |= 1u << at % 32;
        else words[at / 32] &= ~(1u << at % 32);
    }
}
static uint64_t get(const uint32_t* words, int at, int bits) {
    uint64_t value = 0;
    for (int i = 0; i < bits; i++, at++) value |= (uint64_t)(words[at / 32] >> at % 32 & 1) << i;
    return value;
}
struct Query { int32_t k, base, shift, rows; const int32_t* scores; };
int main(int, char** argv) {
    FILE* file = fopen(argv[1], "rb");
    int32_t word;
    while (fread(&word, 4, 1, file) == 1) input.push_back(word);
    std::vector<Query> queries;
    for (size_t at = 0; at < input.size(); at += 4 + input[at + 3])
        queries.push_back({input[at], input[at + 1], input[at + 2], input[at + 3], &input[at + 4]});
    Vrpaccel top;
    std::vector<std::vector<int32_t>> answers(queries.size());
    std::vector<std::vector<int32_t>> counts(queries.size(), std::vector<int32_t>(COUNTS));
    size_t opened = 0, answered = 0;
    int32_t row = 0, cycle = 0, entries[LANES] = {};
    uint32_t swept = 0;  // by cycle, this one lowest
    bool scanning = false;
    top.aresetn = 0; top.aclk = 0; top.eval(); top.aclk = 1; top.eval(); top.aresetn = 1;
    top.result___05Fready = 1;
    uint32_t start[4], rows[(LANES * (1 + SCORE + ID) + 1) / 32 + 2], best[4];
    while (answered < queries.size() && cycle < LIMIT) {
        bool more = !scanning && opened < queries.size();
        top.start___05Fvalid = more;
        if (more) {
            const Query& query = queries[opened];
            put(start, 0, query.k, COUNT); put(start, COUNT, query.base, SCORE);
            put(start, COUNT + SCORE, query.shift, SHIFT);
            memcpy(&top.start___05Fpayload, start, sizeof top.start___05Fpayload);
        }
        top.rows___05Fvalid = scanning && row >= 0;
        if (scanning && row >= 0) {
            const Query& query = queries[opened - 1];
            for (int lane = 0, at = 0; lane < LANES; lane++, at += 1 + SCORE + ID) {
                int32_t place = row * LANES + lane;
                put(rows, at, place < query.rows, 1);
                put(rows, at + 1, place < query.rows ? query.scores[place] : 0, SCORE);
                put(rows, at + 1 + SCORE, place, ID);
            }
            put(rows, LANES * (1 + SCORE + ID), (row + 1) * LANES >= query.rows, 1);
            memcpy(&top.rows___05Fpayload, rows, sizeof top.rows___05Fpayload);
        }
        top.aclk = 0; top.eval();
        if (opened) {
            auto& count = counts[opened - 1];
            count[1] += top.stalled; count[2] += top.passes;
            count[5] += __builtin_popcount(top.queued);
            for (int lane = 0; lane < LANES; lane++) {
                count[6] = std::max(count[6], entries[lane]);
                entries[lane] += (top.queued >> lane & 1) - (top.left >> lane & 1);
            }
            swept = swept << 1 | top.swept;
            if (scanning) count[7] += top.swept;
        }
        if (top.result___05Fvalid) {
            memcpy(best, &top.result___05Fpayload, sizeof top.result___05Fpayload);
            if (get(best, SCORE + ID, 1)) counts[answered++][4] = cycle;
            else {
                uint32_t score = get(best, 0, SCORE) << (32 - SCORE);
                answers[answered].push_back((int32_t)score >> (32 - SCORE));
                answers[answered].push_back((int32_t)get(best, SCORE, ID));
            }
        }
        if (scanning && row < 0 && top.start___05Fready) {
            counts[opened - 1][3] = cycle - 1;
            counts[opened - 1][7] -= __builtin_popcount(swept & 3);  // from the closing on
            scanning = false;
        }
        bool begins = top.start___05Fvalid && top.start___05Fready && more;
        bool taken = top.rows___05Fvalid && top.rows___05Fready;
        top.aclk = 1; top.eval();
        cycle++;
        if (begins) { scanning = true; row = 0; counts[opened][8] = cycle; opened++; }
        if (taken) {
            counts[opened - 1][0] = cycle;
            row = (row + 1) * LANES >= queries[opened - 1].rows ? -1 : row + 1;
        }
    }
    FILE* out = fopen(argv[2], "wb");
    for (size_t at = 0; at < answered; at++) {
        int32_t size = answers[at].size();
        fwrite(counts[at].data(), 4, COUNTS, out);
        fwrite(&size, 4, 1, out);
        fwrite(answers[at].data(), 4, size, out);
    }
    fclose(out);
    return answered < queries.size();
}
"""


NAMES = (
    "scan_cycles", "stalled_cycles", "passes", "close_cycle", "end_cycle", "queued", "peak_entries",
    "sweeps",
)  # fmt: skip
COUNTS = len(NAMES) + 1  # the last: the cycle of the first set


def build(config, folder):
    """Return the program that runs queries through a score filter of `config`."""
    netlist = write_netlist(ScoreFilter(config), "score_filter", folder, checks=True)
    sizes = {
        "LANES": config.lanes,
        "SCORE": config.score_bits,
        "ID": config.id_bits,
        "COUNT": config.count_bits,
        "SHIFT": config.score_bits.bit_length(),
        "LIMIT": 1 << 30,
        "COUNTS": COUNTS,
    }
    defines = "".join(f"#define {name} {value}\n" for name, value in sizes.items())
    return build_program(
        netlist.verilog, defines + MAIN, top=netlist.name, progress=print, build_dir=BUILD_DIR
    )


def run(program, queries, folder):
    """Return per query its counts by NAMES, from its first set on, and its answer's (score, id)."""
    words = [
        np.concatenate(([q["k"], q["base"], q["shift"], len(q["scores"])], q["scores"]))
        for q in queries
    ]
    (folder / "in").write_bytes(np.concatenate(words).astype(np.int32).tobytes())
    subprocess.run([program, folder / "in", folder / "out"], check=True, timeout=600)
    found, at = np.fromfile(folder / "out", dtype=np.int32), 0
    answers = []
    for _ in queries:
        counts, size = found[at : at + COUNTS].astype(int), int(found[at + COUNTS])
        counts[[0, 3, 4]] -= counts[-1]
        at += COUNTS + 1 + size
        answers.append(
            (
                dict(zip(NAMES, counts[:-1].tolist(), strict=True)),
                found[at - size : at].reshape(-1, 2),
            )
        )
    assert at == len(found)
    return answers


def query(order, rows, k, seed=1):
    scores = scores_of(order, rows, seed)
    base, shift = place_buckets(scores[sample_places(rows)])
    return {"scores": scores, "k": k, "base": base, "shift": shift}


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_overrun_at_k_1024(lanes, tmp_path):
    """Random order costs 1 % or less, rising or equal scores 5 % or less; the model says so."""
    config = RetrievalConfig(lanes=lanes, k_max=1024, score_bits=26, id_bits=24)
    program = build(config, tmp_path)
    for order, most in (("random", 0.01), ("ascending", 0.05), ("linear", 0.05), ("equal", 0.05)):
        one = query(order, 1 << 20, 1024)
        report = retrieval.scan(config, one["scores"], 1024, one["base"], one["shift"])
        (counts, rows), (again, same) = run(program, [one, one], tmp_path)
        best = top_k(one["scores"], 1024)
        assert rows[:, 1].tolist() == best.tolist()
        assert rows[:, 0].tolist() == one["scores"][best].tolist()
        assert (rows == same).all()
        expected = {name: getattr(report, name) for name in NAMES}
        late = counts.pop("end_cycle") - expected.pop("end_cycle")  # the sorter's short queues
        assert counts == expected and 0 <= late <= 8
        assert report.overrun <= most
        # behind another query: its answer leaves meanwhile, the scan takes as long
        assert abs(again["close_cycle"] - counts["close_cycle"]) <= 0.001 * report.sets


@pytest.mark.slow
def test_rows_let_through_of_the_published_table(tmp_path):
    """10**6 rows, K = 1024, 16 lanes, by the netlist's own counters; the table has means."""
    config = RetrievalConfig(lanes=16, k_max=1024, score_bits=26, id_bits=24)
    queries = [query("random", 10**6, 1024, seed) for seed in range(8)]
    counts = [one for one, _ in run(build(config, tmp_path), queries, tmp_path)]
    interval = np.mean([one["scan_cycles"] / one["sweeps"] for one in counts])
    published = queued_rows(10**6, 1024, 16, interval)  # tests/perfmodel/test_retrieval_latency.py
    queued = np.mean([one["queued"] for one in counts])
    print(f"{queued:.0f} rows at {interval:.1f} cycles, {queued / published - 1:+.1%}")
    assert abs(queued / published - 1) <= 0.1
    exact = retrieval.mean_passes(10**6, 1024)  # at once
    assert all(one["passes"] < exact < one["queued"] for one in counts)
