// A Verilated retrieval engine on AXI memory: offers scans, collects answers and reports.
// Follows the text of model.hpp with RPACCEL_FOR_EACH_QUERY.
// Usage: program STIMULUS ANSWERS. The stimulus is written by host/retrieval_simulator.py; ANSWERS
// gets (score, id) of every row given, both 32 bits, query place by query place; the rest is JSON.
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "axi_memory.hpp"
#include "axi_pins.hpp"
#include "verilated.h"

using namespace rpaccel;

#define PORT_BEATS(number) read_beats.push_back(port##number.counters().read_beats);

RPACCEL_FOR_EACH_PORT(PORT_PINS)

namespace {

constexpr int QUERIES = RPACCEL_QUERIES;

struct Header {
    uint64_t memory_bytes, memory_filled, limit_cycles, wait_per_mille, seed, scans;
    TimingParameters timing;
};

struct Asked {
    uint64_t bitmap;
    uint32_t valid, k;
    int32_t base;
    uint32_t shift, floor_valid;
    int32_t floor;
    uint32_t page_valid;
    int32_t page_score;
    uint32_t page_id, reserved;
    uint8_t vector[512];
};

struct Scan {
    uint64_t base, live, scales;
    uint32_t rows, row_size, metric, reserved;
    Asked queries[QUERIES];
};

struct Answer {
    uint64_t rows, started, reported, first, ended;  // cycles
    uint64_t status, found, scan_cycles, beats, stalled_cycles;
};

struct Bench {
    Header header;
    VerilatedContext context;
    std::unique_ptr<Vrpaccel> model;
    ByteMemory memory;
    TimingParameters timing;
    std::vector<Scan> scans;
    std::vector<uint64_t> started, taken;  // by scan: offered, accepted
    std::vector<size_t> asked[QUERIES];    // scans in which the place has a query
    std::vector<Answer> answers[QUERIES];
    std::vector<int32_t> rows[QUERIES];
    size_t reports[QUERIES] = {}, ends[QUERIES] = {};
    bool ready[QUERIES];
    size_t next = 0, place = 0, word = 0;
    uint64_t cycles = 0;
    std::string error;
    std::vector<uint64_t> read_beats;
    RPACCEL_FOR_EACH_PORT(PORT_MEMBER)

    explicit Bench(const Header& h)
        : header(h),
          model(std::make_unique<Vrpaccel>(&context)),
          memory(h.memory_bytes),
          timing(h.timing) RPACCEL_FOR_EACH_PORT(PORT_INIT) {}

    int fail(const std::string& where, const std::string& what) {
        if (error.empty()) error = where + ": " + what + ", cycle " + std::to_string(cycles);
        return -1;
    }

    void edge() {
        model->aclk = 1;
        model->eval();
        model->aclk = 0;
        ++cycles;
    }

    size_t words() const {
        return std::max<size_t>(1, (16u << scans[next].row_size) / RPACCEL_BEAT_BYTES);
    }

    int step() {
        const bool more = next < scans.size();
        while (more && place < QUERIES && !scans[next].queries[place].valid) ++place;
        const bool loads = more && place < QUERIES, starts = more && place == QUERIES;
        model->word_valid = loads;
        if (loads) {
            model->word_query = place;
            model->word_index = word;
            uint8_t data[RPACCEL_BEAT_BYTES];
            const size_t bytes = 16u << scans[next].row_size;
            for (size_t i = 0; i < sizeof data; ++i)
                data[i] = scans[next].queries[place].vector[(word * sizeof data + i) % bytes];
            std::memcpy(pin_bytes(model->word_data), data, sizeof data);
        }
        model->start_valid = starts;
        if (starts) {
            const Scan& scan = scans[next];
            if (started.size() == next) started.push_back(cycles);
            model->rows = scan.rows;
            model->row_size = scan.row_size;
            model->metric = scan.metric;
            model->base = scan.base;
            model->live = scan.live;
            model->scales = scan.scales;
#define QUERY_START(q)                                         \
    model->valid##q = scan.queries[q].valid;                   \
    model->k##q = scan.queries[q].k;                           \
    model->bucket_base##q = scan.queries[q].base;              \
    model->shift##q = scan.queries[q].shift;                   \
    model->bitmap##q = scan.queries[q].bitmap;                 \
    model->floor_valid##q = scan.queries[q].floor_valid;       \
    model->floor##q = scan.queries[q].floor;                   \
    model->page_valid##q = scan.queries[q].page_valid;         \
    model->page_score##q = scan.queries[q].page_score;         \
    model->page_id##q = scan.queries[q].page_id;
            RPACCEL_FOR_EACH_QUERY(QUERY_START)
        }
#define QUERY_DRIVE(q)                                                                       \
    ready[q] = mix(header.seed + 64 * cycles + q) % 1000 >= header.wait_per_mille;           \
    model->result##q##_ready = ready[q];
        RPACCEL_FOR_EACH_QUERY(QUERY_DRIVE)
        RPACCEL_FOR_EACH_PORT(PORT_DRIVE)
        model->eval();
        RPACCEL_FOR_EACH_PORT(PORT_SAMPLE)
#define QUERY_SAMPLE(q)                                                                      \
    if (model->report##q##_valid) {                                                          \
        if (reports[q] == asked[q].size()) return fail("place " #q, "a report too many");    \
        Answer& a = answers[q][reports[q]];                                                  \
        a.started = taken[asked[q][reports[q]++]];                                           \
        a.reported = cycles;                                                                 \
        a.status = model->report##q##_status;                                                \
        a.found = model->report##q##_found;                                                  \
        a.scan_cycles = model->report##q##_scan_cycles;                                      \
        a.beats = model->report##q##_beats;                                                  \
        a.stalled_cycles = model->report##q##_stalled_cycles;                                \
    }                                                                                        \
    if (ready[q] && model->result##q##_valid) {                                              \
        if (ends[q] == reports[q]) return fail("place " #q, "a row before its report");      \
        Answer& a = answers[q][ends[q]];                                                     \
        if (model->result##q##_end) {                                                        \
            a.ended = cycles;                                                                \
            ++ends[q];                                                                       \
        } else {                                                                             \
            if (a.rows++ == 0) a.first = cycles;                                             \
            rows[q].push_back(int32_t(model->result##q##_score));                            \
            rows[q].push_back(int32_t(model->result##q##_id));                               \
        }                                                                                    \
    }
        RPACCEL_FOR_EACH_QUERY(QUERY_SAMPLE)
        if (loads && model->word_ready && ++word == words()) {
            word = 0;
            ++place;
        }
        if (starts && model->start_ready) {
            taken.push_back(cycles);
            ++next;
            place = 0;
        }
        edge();
        return context.gotFinish() ? fail("netlist", "a check failed, see its message") : 0;
    }

    int run() {
        model->aclk = 0;
        model->aresetn = 0;
        model->limit = header.memory_bytes;
        model->give_up = 0;
        for (int i = 0; i < 4; ++i) edge();
        model->aresetn = 1;
        for (int i = 0; i < RPACCEL_CLEAR_CYCLES; ++i) {  // of the histograms, after a reset
            model->eval();
            edge();
        }
        for (size_t s = 0; s < scans.size(); ++s)
            for (int q = 0; q < QUERIES; ++q)
                if (scans[s].queries[q].valid) {
                    asked[q].push_back(s);
                    answers[q].push_back(Answer{});
                }
        for (uint64_t quiet = 0; quiet < 64;) {  // nothing more may come
            if (cycles > header.limit_cycles) return fail("bench", "the limit of cycles was reached");
            if (step() != 0) return -1;
            bool left = next < scans.size();
            for (int q = 0; q < QUERIES; ++q) left |= ends[q] < asked[q].size();
            quiet = left ? 0 : quiet + 1;
        }
        if (!model->idle) return fail("engine", "not idle at the end");
        RPACCEL_FOR_EACH_PORT(PORT_BEATS)
        return 0;
    }

    void print() {
        std::printf("{\"error\": \"%s\", \"cycles\": %llu, \"read_beats\": [", error.c_str(),
                    static_cast<unsigned long long>(cycles));
        for (size_t i = 0; i < read_beats.size(); ++i)
            std::printf("%s%llu", i ? ", " : "", static_cast<unsigned long long>(read_beats[i]));
        std::printf("], \"answers\": [");
        for (int q = 0; q < QUERIES; ++q) {
            std::printf("%s[", q ? ", " : "");
            for (size_t i = 0; i < answers[q].size(); ++i) {
                const Answer& a = answers[q][i];
                std::printf("%s", i ? ", " : "");
                std::printf("{\"scan\": %zu", asked[q][i]);
#define FACT(name) std::printf(", \"" #name "\": %llu", static_cast<unsigned long long>(a.name));
                FACT(rows) FACT(started) FACT(reported) FACT(first) FACT(ended) FACT(status)
                FACT(found) FACT(scan_cycles) FACT(beats) FACT(stalled_cycles)
                std::printf("}");
            }
            std::printf("]");
        }
        std::printf("]}\n");
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    std::ifstream file(argv[1], std::ios::binary);
    Header header;
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    Bench bench(header);
    bench.scans.resize(header.scans);
    file.read(reinterpret_cast<char*>(bench.scans.data()), header.scans * sizeof(Scan));
    file.read(reinterpret_cast<char*>(bench.memory.at(0)), header.memory_filled);
    const int result = bench.run();
    std::ofstream answers(argv[2], std::ios::binary);
    for (const auto& rows : bench.rows)
        answers.write(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(int32_t));
    bench.print();
    return result == 0 ? 0 : 1;
}
