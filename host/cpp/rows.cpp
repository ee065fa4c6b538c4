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

constexpr uint32_t STALE = 15, PENDING = 255;
constexpr uint64_t QUEUE_ENTRIES = 8, ENTRY_BYTES = RPACCEL_UPDATE_ENTRY_BYTES;

struct Header {
    uint64_t memory_bytes, limit_cycles, wait_per_mille, seed, split, loads, moves;
    // The first live_rows rows of live_row_bytes bytes have versions; their version words begin at
    // versions, the queue of updates at queue. A row is updated every update_gap cycles, or later.
    uint64_t updates, update_gap, live_rows, live_row_bytes, versions, queue;
    TimingParameters timing;
};

struct Row {
    uint64_t address;
    uint32_t beats;
    uint32_t after;  // cycles that the reader waits before it offers the row
    uint32_t bytes;  // of the row
    uint32_t stage;  // or, of a prefetcher's row: its epoch while it offers the row or has it next
};

struct Load {
    uint32_t target, index;
    uint64_t low, high;
};

struct Move {  // the static caches have another split from an edge on
    uint64_t edge, split;
};

struct Reader {
    std::vector<Row> rows;
    size_t asked = 0, answered = 0;
    uint32_t beat = 0;
    uint64_t first = 0, last = 0;  // edge of the first request offered, of the last beat taken
    uint64_t errors = 0, next = 0;
    bool ready = false, offered = false;
    std::vector<uint32_t> oldest;  // of each row: the version that it must have, at least
    int64_t version = 0;           // of the row that comes now; -1: any so far
};

struct Bench {
    Header header;
    VerilatedContext context;
    std::unique_ptr<Vrpaccel> model;
    ByteMemory memory;
    TimingParameters timing;
    std::vector<Reader> readers;
    std::vector<Load> loads;
    std::vector<Move> moves;
    size_t moved = 0;
    std::vector<uint32_t> sent, done;  // versions of live rows: in the queue, in memory
    std::vector<std::pair<uint32_t, uint32_t>> queued;  // row and version of entries, 0: stale
    uint64_t update_head = 0, update_next = 0, stale = 0, first_update = 0, last_update = 0;
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
        sent.assign(h.live_rows, 0);
        done.assign(h.live_rows, 0);
        for (uint64_t row = 0; row < h.live_rows; ++row) {
            write_row(memory.at(row * h.live_row_bytes), row, 0);
            std::memset(memory.at(h.versions + 4 * row), 0, 4);
        }
    }

    uint32_t row_word(uint64_t row, uint64_t version, uint64_t word) const {
        return uint32_t(mix(header.seed + (row << 40) + (version << 8) + word));
    }

    void write_row(uint8_t* at, uint64_t row, uint64_t version) const {
        for (uint64_t word = 0; word < header.live_row_bytes / 4; ++word) {
            const uint32_t value = row_word(row, version, word);
            std::memcpy(at + 4 * word, &value, 4);
        }
    }

    bool has_version(const uint8_t* at, uint64_t row, uint64_t version, uint64_t first,
                     uint64_t bytes) const {
        for (uint64_t i = 0; i < bytes / 4; ++i) {
            const uint32_t value = row_word(row, version, first + i);
            if (std::memcmp(at + 4 * i, &value, 4) != 0) return false;
        }
        return true;
    }

    // Writers that share the queue: now and then one is late, and its version is an old one.
    int update() {
        const uint64_t head = model->queue_head;
        while ((update_head & 0xFFFF) != head) {
            const auto [row, version] = queued[update_head];
            const uint8_t status =
                memory.at(header.queue + update_head % QUEUE_ENTRIES * ENTRY_BYTES)[22];
            if (status != (version ? OK : STALE))
                return fail("update " + std::to_string(update_head),
                            "status " + std::to_string(status));
            if (version) done[row] = version;
            ++update_head;
            last_update = cycles;
        }
        if (queued.size() == header.updates || queued.size() - update_head == QUEUE_ENTRIES ||
            cycles < update_next)
            return 0;
        const uint64_t draw = mix(header.seed + 7919 * (queued.size() + 1));
        const uint32_t row = uint32_t(draw % header.live_rows);
        const bool late = (draw >> 40) % 8 == 0;
        const uint32_t version = late ? sent[row] : ++sent[row];
        if (queued.empty()) first_update = cycles;
        uint8_t* entry =
            memory.at(header.queue + queued.size() % QUEUE_ENTRIES * ENTRY_BYTES);
        const uint64_t address = row * header.live_row_bytes;
        const uint64_t version_address = header.versions + 4 * uint64_t(row);
        const uint16_t row_bytes = uint16_t(header.live_row_bytes);
        std::memcpy(entry, &address, 8);
        std::memcpy(entry + 8, &version_address, 8);
        std::memcpy(entry + 16, &version, 4);
        std::memcpy(entry + 20, &row_bytes, 2);
        entry[22] = PENDING;
        entry[23] = 0;
        write_row(entry + 32, row, late ? 0xFFFFFF : version);
        queued.push_back({row, late ? 0 : version});
        stale += late;
        model->queue_tail = queued.size() & 0xFFFF;
        update_next = cycles + header.update_gap;
        return 0;
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

    // The row's part of a beat; all beats of a live row must be of one version.
    int check_bytes(Reader& reader, const Row& row, const uint8_t* data, uint64_t address) {
        const uint64_t offset = row.address % RPACCEL_BEAT_BYTES;
        const uint64_t bytes = std::min<uint64_t>(row.bytes, RPACCEL_BEAT_BYTES);
        const uint64_t number = header.live_rows ? row.address / header.live_row_bytes : 0;
        if (number >= header.live_rows)
            return std::memcmp(data + offset, memory.at(address), bytes) != 0;
        const uint64_t first = uint64_t(reader.beat) * RPACCEL_BEAT_BYTES / 4;
        if (reader.beat == 0) {
            reader.version = -1;
            for (uint64_t v = reader.oldest[reader.answered]; v <= sent[number]; ++v)
                if (has_version(data + offset, number, v, 0, bytes)) reader.version = int64_t(v);
            return reader.version < 0;
        }
        return !has_version(data + offset, number, uint64_t(reader.version), first, bytes);
    }

    int check(Reader& reader, const uint8_t* data, bool last, uint32_t status, size_t number) {
        const Row& row = reader.rows[reader.answered];
        const uint64_t address = row.address + uint64_t(reader.beat) * RPACCEL_BEAT_BYTES;
        const std::string where =
            "reader " + std::to_string(number) + ", row " + std::to_string(reader.answered);
        if (last != (reader.beat + 1 == row.beats)) return fail(where, "`last` is wrong");
        if (status == OK) {
            if (check_bytes(reader, row, data, address) != 0)
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
        while (moved < moves.size() && cycles >= moves[moved].edge)
            model->split = moves[moved++].split;
#define READER_DRIVE(i)                                                                      \
    {                                                                                        \
        Reader& r = readers[i];                                                              \
        r.offered = r.asked < r.rows.size() && (r.offered || cycles >= r.next);              \
        model->row##i##_valid = r.offered;                                                   \
        if (r.offered) {                                                                     \
            model->row##i##_address = r.rows[r.asked].address;                               \
            model->row##i##_beats = r.rows[r.asked].beats;                                   \
            model->row##i##_stage = r.rows[r.asked].stage;                                   \
            model->row##i##_size = 31 - __builtin_clz(r.rows[r.asked].bytes / 4);            \
            if (r.asked == 0 && r.first == 0) r.first = cycles;                              \
        }                                                                                    \
        r.ready = mix(header.seed + 64 * cycles + i) % 1000 >= header.wait_per_mille;        \
        model->row##i##_answer_ready = r.ready;                                              \
    }
        RPACCEL_FOR_EACH_READER(READER_DRIVE)
#define PREFETCHER_DRIVE(i)                                                                  \
    {                                                                                        \
        Reader& r = readers[RPACCEL_READERS + i];                                            \
        r.offered = r.asked < r.rows.size() && (r.offered || cycles >= r.next);              \
        model->prefetch##i##_valid = r.offered;                                              \
        if (r.offered) {                                                                     \
            model->prefetch##i##_address = r.rows[r.asked].address;                          \
            model->prefetch##i##_beats = r.rows[r.asked].beats;                              \
        }                                                                                    \
        if (!r.rows.empty())                                                                 \
            model->epoch##i = r.rows[std::min(r.asked, r.rows.size() - 1)].stage;            \
    }
        RPACCEL_FOR_EACH_PREFETCHER(PREFETCHER_DRIVE)
        if (header.updates != 0 && update() != 0) return -1;
        RPACCEL_FOR_EACH_PORT(PORT_DRIVE)
        model->eval();
        RPACCEL_FOR_EACH_PORT(PORT_SAMPLE)
#define READER_SAMPLE(i)                                                                     \
    {                                                                                        \
        Reader& r = readers[i];                                                              \
        if (r.offered && model->row##i##_ready) {                                            \
            const uint64_t number =                                                          \
                header.live_rows ? r.rows[r.asked].address / header.live_row_bytes : 0;      \
            r.oldest.push_back(number < header.live_rows ? done[number] : 0);                \
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
#define PREFETCHER_SAMPLE(i)                                                                 \
    {                                                                                        \
        Reader& r = readers[RPACCEL_READERS + i];                                            \
        if (r.offered && model->prefetch##i##_ready) {                                       \
            ++r.asked;                                                                       \
            r.offered = false;                                                               \
            r.next = cycles + 1 + (r.asked < r.rows.size() ? r.rows[r.asked].after : 0);     \
        }                                                                                    \
    }
        RPACCEL_FOR_EACH_PREFETCHER(PREFETCHER_SAMPLE)
        edge();
        return context.gotFinish() ? fail("netlist", "a check failed, see its message") : 0;
    }

    int run() {
        model->aclk = 0;
        model->aresetn = 0;
        model->limit = header.memory_bytes;
        model->clear = 0;
        model->split = header.split;
        model->queue_base = header.queue;
        model->queue_size = QUEUE_ENTRIES;
        model->queue_tail = 0;
        for (int i = 0; i < 4; ++i) edge();
        model->aresetn = 1;
        for (const Load& load : loads) {
            model->load_valid = 1;
            model->load_target = load.target;
            model->load_index = load.index;
            model->load_data[0] = uint32_t(load.low);
            model->load_data[1] = uint32_t(load.low >> 32);
            model->load_data[2] = uint32_t(load.high);
            model->load_data[3] = uint32_t(load.high >> 32);
            model->eval();
            edge();
        }
        model->load_valid = 0;
        const uint64_t end = cycles + header.limit_cycles;
        size_t left = 1;
        for (uint64_t quiet = 0; quiet < 64;) {  // nothing more may come
            if (cycles > end) return fail("bench", "the limit of cycles was reached");
            if (step() != 0) return -1;
            left = 0;
            for (size_t i = 0; i < readers.size(); ++i) {
                const bool prefetches = i >= RPACCEL_READERS;
                const Reader& reader = readers[i];
                left += reader.rows.size() - (prefetches ? reader.asked : reader.answered);
                left += prefetches && !model->idle;
            }
            left += header.updates - update_head;
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
        COUNTER(pinned) COUNTER(hits) COUNTER(merged) COUNTER(misses) COUNTER(refused)
        COUNTER(evictions) COUNTER(prefetches) COUNTER(dropped) COUNTER(used) COUNTER(late)
        COUNTER(unused)
        std::printf(", \"updates\": %llu, \"stale\": %llu, \"update_cycles\": %llu",
                    static_cast<unsigned long long>(update_head),
                    static_cast<unsigned long long>(stale),
                    static_cast<unsigned long long>(last_update - first_update));
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
    bench.loads.resize(header.loads);
    file.read(reinterpret_cast<char*>(bench.loads.data()), header.loads * sizeof(Load));
    bench.moves.resize(header.moves);
    file.read(reinterpret_cast<char*>(bench.moves.data()), header.moves * sizeof(Move));
    uint64_t count;
    while (file.read(reinterpret_cast<char*>(&count), sizeof count)) {
        Reader reader;
        reader.rows.resize(count);
        file.read(reinterpret_cast<char*>(reader.rows.data()), count * sizeof(Row));
        if (count != 0) reader.next = reader.rows[0].after;
        for (Row& row : reader.rows)
            if (row.bytes == 0) row.bytes = row.beats * RPACCEL_BEAT_BYTES;
        bench.readers.push_back(std::move(reader));
    }
    const int result = bench.run();
    bench.print();
    return result == 0 ? 0 : 1;
}
