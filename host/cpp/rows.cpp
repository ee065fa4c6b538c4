// A Verilated row network on AXI memory: offers traces of rows, checks every answer, counts.
// Follows the text of model.hpp with RPACCEL_FOR_EACH_READER.
// Usage: program STIMULUS. The stimulus is written by host/row_simulator.py; the result is JSON.
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

constexpr uint32_t OK = 0, MEMORY = 11;  // spec.isa.Status

struct Header {
    uint64_t memory_bytes, limit_cycles, wait_per_mille, seed;
    TimingParameters timing;
};

struct Row {
    uint64_t address;
    uint32_t beats;
    uint32_t after;  // cycles that the reader waits before it offers the row
};

struct Reader {
    std::vector<Row> rows;
    size_t asked = 0, answered = 0;
    uint32_t beat = 0;
    uint64_t first = 0, last = 0;  // edge of the first request offered, of the last beat taken
    uint64_t errors = 0, next = 0;
    bool ready = false, offered = false;
};

struct Bench {
    Header header;
    VerilatedContext context;
    std::unique_ptr<Vrpaccel> model;
    ByteMemory memory;
    TimingParameters timing;
    std::vector<Reader> readers;
    uint64_t cycles = 0;
    std::string error;
    std::vector<uint64_t> read_beats;
    RPACCEL_FOR_EACH_PORT(PORT_MEMBER)

    explicit Bench(const Header& h)
        : header(h),
          model(std::make_unique<Vrpaccel>(&context)),
          memory(h.memory_bytes),
          timing(h.timing) RPACCEL_FOR_EACH_PORT(PORT_INIT) {
        uint64_t* words = reinterpret_cast<uint64_t*>(memory.at(0));
        for (uint64_t i = 0; i < h.memory_bytes / 8; ++i) words[i] = mix(i);
    }

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

    int check(Reader& reader, const uint8_t* data, bool last, uint32_t status, size_t number) {
        const Row& row = reader.rows[reader.answered];
        const uint64_t address = row.address + uint64_t(reader.beat) * RPACCEL_BEAT_BYTES;
        const std::string where =
            "reader " + std::to_string(number) + ", row " + std::to_string(reader.answered);
        if (last != (reader.beat + 1 == row.beats)) return fail(where, "`last` is wrong");
        if (status == OK) {
            if (std::memcmp(data, memory.at(address), RPACCEL_BEAT_BYTES) != 0)
                return fail(where, "wrong bytes of address " + std::to_string(address));
        } else if (status != MEMORY || header.timing.error_per_mille == 0) {
            return fail(where, "status " + std::to_string(status));
        } else {
            ++reader.errors;
        }
        reader.last = cycles;
        if (last) {
            reader.beat = 0;
            ++reader.answered;
        } else {
            ++reader.beat;
        }
        return 0;
    }

    int step() {
#define READER_DRIVE(i)                                                                      \
    {                                                                                        \
        Reader& r = readers[i];                                                              \
        r.offered = r.asked < r.rows.size() && (r.offered || cycles >= r.next);              \
        model->row##i##_valid = r.offered;                                                   \
        if (r.offered) {                                                                     \
            model->row##i##_address = r.rows[r.asked].address;                               \
            model->row##i##_beats = r.rows[r.asked].beats;                                   \
            if (r.asked == 0 && r.first == 0) r.first = cycles;                              \
        }                                                                                    \
        r.ready = mix(header.seed + 64 * cycles + i) % 1000 >= header.wait_per_mille;        \
        model->row##i##_answer_ready = r.ready;                                              \
    }
        RPACCEL_FOR_EACH_READER(READER_DRIVE)
        RPACCEL_FOR_EACH_PORT(PORT_DRIVE)
        model->eval();
        RPACCEL_FOR_EACH_PORT(PORT_SAMPLE)
#define READER_SAMPLE(i)                                                                     \
    {                                                                                        \
        Reader& r = readers[i];                                                              \
        if (r.offered && model->row##i##_ready) {                                            \
            ++r.asked;                                                                       \
            r.offered = false;                                                               \
            r.next = cycles + 1 + (r.asked < r.rows.size() ? r.rows[r.asked].after : 0);     \
        }                                                                                    \
        if (r.ready && model->row##i##_answer_valid) {                                       \
            if (r.answered == r.asked)                                                       \
                return fail("reader " #i, "an answer that nobody asked for");                \
            if (check(r, pin_bytes(model->row##i##_data), model->row##i##_last,              \
                      model->row##i##_error, i) != 0)                                        \
                return -1;                                                                   \
        }                                                                                    \
    }
        RPACCEL_FOR_EACH_READER(READER_SAMPLE)
        edge();
        return context.gotFinish() ? fail("netlist", "a check failed, see its message") : 0;
    }

    int run() {
        model->aclk = 0;
        model->aresetn = 0;
        model->limit = header.memory_bytes;
        model->clear = 0;
        for (int i = 0; i < 4; ++i) edge();
        model->aresetn = 1;
        const uint64_t end = cycles + header.limit_cycles;
        size_t left = 1;
        for (uint64_t quiet = 0; quiet < 64;) {  // nothing more may come
            if (cycles > end) return fail("bench", "the limit of cycles was reached");
            if (step() != 0) return -1;
            left = 0;
            for (const Reader& reader : readers) left += reader.rows.size() - reader.answered;
            quiet = left == 0 ? quiet + 1 : 0;
        }
        if (!model->idle) return fail("banks", "not idle at the end");
        RPACCEL_FOR_EACH_PORT(PORT_BEATS)
        return 0;
    }

    void print() {
        std::printf("{\"error\": \"%s\", \"cycles\": %llu", error.c_str(),
                    static_cast<unsigned long long>(cycles));
#define COUNTER(name) \
    std::printf(", \"" #name "\": %llu", static_cast<unsigned long long>(model->name));
        COUNTER(hits) COUNTER(merged) COUNTER(misses) COUNTER(refused) COUNTER(evictions)
        std::printf(", \"read_beats\": [");
        for (size_t i = 0; i < read_beats.size(); ++i)
            std::printf("%s%llu", i ? ", " : "", static_cast<unsigned long long>(read_beats[i]));
        std::printf("], \"readers\": [");
        for (size_t i = 0; i < readers.size(); ++i)
            std::printf("%s{\"first\": %llu, \"last\": %llu, \"rows\": %zu, \"errors\": %llu}",
                        i ? ", " : "", static_cast<unsigned long long>(readers[i].first),
                        static_cast<unsigned long long>(readers[i].last), readers[i].answered,
                        static_cast<unsigned long long>(readers[i].errors));
        std::printf("]}\n");
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    std::ifstream file(argv[1], std::ios::binary);
    Header header;
    file.read(reinterpret_cast<char*>(&header), sizeof header);
    Bench bench(header);
    uint64_t count;
    while (file.read(reinterpret_cast<char*>(&count), sizeof count)) {
        Reader reader;
        reader.rows.resize(count);
        file.read(reinterpret_cast<char*>(reader.rows.data()), count * sizeof(Row));
        if (count != 0) reader.next = reader.rows[0].after;
        bench.readers.push_back(std::move(reader));
    }
    const int result = bench.run();
    bench.print();
    return result == 0 ? 0 : 1;
}
