// Runs a compute core at full speed: program <stimulus file> <result file>.
// host/core_simulator.py puts RPACCEL_FOR_EACH_WRITE_PORT(X), which is X(port) for each, and `struct
// Pins` (the ports of the netlist, and the bytes of each) in front of this text; it writes the
// stimulus, reads the result and describes these files.
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr uint64_t SILENCE_CYCLES = 100;  // nothing may come after the last score
constexpr size_t LOAD_RECORD_BYTES = 8 + Pins::LOAD_DATA_BYTES;
constexpr size_t WRITE_RECORD_BYTES = 8 + Pins::VECTORS0_DATA_BYTES + Pins::VECTORS0_MASK_BYTES;

// A port of Verilator is an unsigned integer, or an array of 32-bit words that VlWide holds.
template <typename T>
void set_bytes(T& port, const uint8_t* bytes, size_t count) {
    port = 0;
    std::memcpy(&port, bytes, count);
}
template <std::size_t N>
void set_bytes(VlWide<N>& port, const uint8_t* bytes, size_t count) {
    std::memset(port.data(), 0, 4 * N);
    std::memcpy(port.data(), bytes, count);
}

uint32_t word_at(const uint8_t* bytes) {
    uint32_t value;
    std::memcpy(&value, bytes, 4);
    return value;
}

struct Batch {
    uint32_t items, writes;
};

struct Stimulus {
    std::vector<uint8_t> raw;
    uint64_t entries, first_writes, batches, limit_cycles;
    const uint8_t *slot, *entry, *write;
    const Batch* batch;

    explicit Stimulus(const char* path) {
        std::ifstream file(path, std::ios::binary);
        raw.assign(std::istreambuf_iterator<char>(file), {});
        const auto* header = reinterpret_cast<const uint64_t*>(raw.data());
        entries = header[0];
        first_writes = header[1];
        batches = header[2];
        limit_cycles = header[3];
        batch = reinterpret_cast<const Batch*>(header + 4);
        slot = reinterpret_cast<const uint8_t*>(batch + batches);
        entry = slot + Pins::SLOT_BYTES;
        write = entry + entries * LOAD_RECORD_BYTES;
    }
};

class Core {
   public:
    explicit Core(const char* stimulus) : in_(stimulus), next_write_(in_.write) {
        for (uint64_t j = 0; j < in_.batches; ++j) expected_ += in_.batch[j].items;
        pins_.aclk() = 0;
        pins_.aresetn() = 0;
        pins_.load_valid() = pins_.batch_valid() = 0;
        no_write();
        pins_.score_ready() = 1;
        for (int n = 0; n < 4; ++n) cycle();
        pins_.aresetn() = 1;
    }
    ~Core() { model_->final(); }

    void run() {
        load();
        for (uint64_t n = 0; n < in_.first_writes; ++n) {
            put_write();
            cycle();
        }
        no_write();
        uint64_t quiet = 0;
        for (uint64_t now = 0; quiet < SILENCE_CYCLES; ++now) {
            if (now > in_.limit_cycles) return fail("too many cycles");
            step(now);
            if (context_.gotFinish()) return fail("a check of the netlist failed");
            quiet = scores_.size() < expected_ ? 0 : quiet + 1;
        }
        if (scores_.size() != expected_ || releases_.size() != in_.batches) {
            return fail("more scores or releases than asked for");
        }
        if (!pins_.array_stalled_input()) return fail("the core does not say that it waits");
    }

    void save(const char* path) const {
        std::ofstream file(path, std::ios::binary);
        const auto put = [&file](const std::vector<uint64_t>& values) {
            file.write(reinterpret_cast<const char*>(values.data()), 8 * values.size());
        };
        put({array_busy_, interaction_busy_});
        put(transfers_);
        put(releases_);
        put(score_cycles_);
        put(busy_at_score_);
        put(scores_);
    }

    const std::string& error() const { return error_; }

   private:
    VerilatedContext context_;
    std::unique_ptr<Vrpaccel> model_ = std::make_unique<Vrpaccel>(&context_);
    Pins pins_{model_.get()};
    Stimulus in_;
    const uint8_t* next_write_;
    uint64_t expected_ = 0;
    std::string error_;

    // Gather: sub-batch `filled_` is written or waits for its bank, `offered_` is offered.
    uint64_t filled_ = 0, offered_ = 0;
    uint32_t written_ = 0;

    std::vector<uint64_t> transfers_, releases_, score_cycles_, busy_at_score_, scores_;
    uint64_t array_busy_ = 0, interaction_busy_ = 0;

    void fail(const std::string& what) {
        error_ = what + ": " + std::to_string(transfers_.size()) + " transfers, " +
                 std::to_string(releases_.size()) + " releases, " +
                 std::to_string(scores_.size()) + " of " + std::to_string(expected_) + " scores";
    }

    void edge() {
        pins_.aclk() = 1;
        model_->eval();
        pins_.aclk() = 0;
    }

    void cycle() {
        model_->eval();
        edge();
    }

    void load() {
        set_bytes(pins_.slot(), in_.slot, Pins::SLOT_BYTES);
        for (uint64_t n = 0; n < in_.entries; ++n) {
            const uint8_t* record = in_.entry + n * LOAD_RECORD_BYTES;
            pins_.load_valid() = 1;
            pins_.load_target() = word_at(record);
            pins_.load_index() = word_at(record + 4);
            set_bytes(pins_.load_data(), record + 8, Pins::LOAD_DATA_BYTES);
            cycle();
        }
        pins_.load_valid() = 0;
    }

    void no_write() {
#define NO_WRITE(port) pins_.vectors##port##_valid() = 0;
        RPACCEL_FOR_EACH_WRITE_PORT(NO_WRITE)
#undef NO_WRITE
    }

    void put_write() {
        const uint8_t* record = next_write_;
        const unsigned chosen = record[2] | record[3] << 8;
        no_write();
#define PUT_WRITE(port)                                                                 \
    if (chosen == port) {                                                               \
        pins_.vectors##port##_valid() = 1;                                              \
        pins_.vectors##port##_user() = record[0];                                       \
        pins_.vectors##port##_vector() = record[1];                                     \
        pins_.vectors##port##_address() = word_at(record + 4);                          \
        set_bytes(pins_.vectors##port##_data(), record + 8, Pins::VECTORS0_DATA_BYTES); \
        set_bytes(pins_.vectors##port##_mask(), record + 8 + Pins::VECTORS0_DATA_BYTES, \
                  Pins::VECTORS0_MASK_BYTES);                                           \
    }
        RPACCEL_FOR_EACH_WRITE_PORT(PUT_WRITE)
#undef PUT_WRITE
        next_write_ += WRITE_RECORD_BYTES;
    }

    // Fill the next bank that is free, one write per cycle; `filled_` counts a sub-batch from the
    // cycle after its last write on.
    void gather() {
        no_write();
        while (filled_ < in_.batches && filled_ < releases_.size() + 2) {
            if (written_ < in_.batch[filled_].writes) {
                put_write();
                ++written_;
                return;
            }
            ++filled_;
            written_ = 0;
        }
    }

    void step(uint64_t now) {
        gather();
        const bool offer = offered_ < filled_;
        pins_.batch_valid() = offer;
        if (offer) {
            const uint64_t last = offered_ + 1 == in_.batches;
            const uint64_t half = 2 * (offered_ % 2);  // of the item banks: rtl.item_banks
            pins_.batch_payload() = half | in_.batch[offered_].items << 2 | last << 18;
        }
        model_->eval();
        const bool taken = offer && pins_.batch_ready();
        const bool released = pins_.release_stb();
        array_busy_ += pins_.array_busy();
        interaction_busy_ += pins_.interaction_busy();
        if (taken) transfers_.push_back(now);
        if (released) releases_.push_back(now);
        if (pins_.score_valid()) {
            scores_.push_back(pins_.score_payload());
            score_cycles_.push_back(now);
            busy_at_score_.push_back(array_busy_);
        }
        edge();
        offered_ += taken;
    }
};

}  // namespace

int main(int, char** argv) {
    Core core(argv[1]);
    core.run();
    core.save(argv[2]);
    if (!core.error().empty()) std::cerr << core.error() << "\n";
    return core.error().empty() ? 0 : 1;
}
