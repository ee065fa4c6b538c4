// The timing model of the external memory, shared by every front: when is which burst answered.
//
// A cycle is the number of a rising clock edge. A request accepted at edge t is due at edge
// t + latency (+ jitter), or when the bank model of dram.hpp has its data: its first beat can be
// taken at that edge, then one beat per cycle.
// Bursts are served whole, in the order of (due, sequence). In order: a burst is due when the one
// before it has had time to pass. Out of order: that holds per id only, so ids overtake each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <vector>

#include "dram.hpp"

namespace rpaccel {

enum Response : uint32_t { OKAY = 0, SLVERR = 2, DECERR = 3 };

// Mirrored by host/axi_memory.py.
struct TimingParameters {
    uint64_t seed;
    uint32_t read_latency_cycles;
    uint32_t write_latency_cycles;
    uint32_t max_outstanding;  // bursts per port and direction
    uint32_t jitter_cycles;    // uniform extra latency, 0..jitter_cycles
    uint32_t stall_per_mille;  // of the cycles of each channel, in the C++ front
    uint32_t in_order;
    // Faults, each of so many bursts of a million or a thousand.
    uint32_t spike_per_million;
    uint32_t spike_cycles;  // uniform extra latency, 1..spike_cycles
    uint32_t hold_per_mille;
    uint32_t hold_cycles;  // uniform extra latency, 1..hold_cycles: others overtake
    uint32_t error_per_mille;  // answered with SLVERR
    uint32_t reserved;
    DramParameters dram;  // dram.channels 0: the constant latencies above
};

struct Burst {
    uint64_t due;
    uint64_t sequence;
    uint64_t address;
    uint32_t id;
    uint32_t beats;
    uint32_t response;  // of all beats
    uint32_t reserved;
};

inline uint64_t mix(uint64_t x) {  // splitmix64
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// Answers of one direction of one port. Both directions of a port share its banks.
class Schedule {
  public:
    Schedule(const TimingParameters& timing, uint32_t port, bool write, uint32_t beat_bytes,
             std::shared_ptr<DramPort> dram = nullptr)
        : timing_(timing),
          latency_(write ? timing.write_latency_cycles : timing.read_latency_cycles),
          write_(write),
          beat_bytes_(beat_bytes),
          key_(mix(timing.seed + 2 * port + (write ? 1 : 0))),
          dram_(std::move(dram)) {
        if (timing.dram.channels != 0 && !dram_)
            dram_ = std::make_shared<DramPort>(timing.dram, port);
    }

    // Accept a request at edge `cycle`, a write with its last beat; return the edge at which its
    // first beat, or the response, is due.
    uint64_t accept(uint64_t cycle, uint32_t id, uint64_t address, uint32_t beats,
                    uint32_t response = OKAY) {
        uint64_t due = cycle + latency_;
        if (dram_) {
            const uint64_t served = dram_->accept(cycle, id, write_, address, beats, beat_bytes_);
            due = write_ ? std::max(due, served) : served;
        }
        if (timing_.jitter_cycles != 0) due += mix(key_ ^ sequence_) % (timing_.jitter_cycles + 1);
        if (drawn(SPIKE, timing_.spike_per_million, 1000000))
            due += 1 + draw(SPIKE + 1, timing_.spike_cycles);
        if (drawn(HOLD, timing_.hold_per_mille, 1000))
            due += 1 + draw(HOLD + 1, timing_.hold_cycles);
        if (drawn(ERROR, timing_.error_per_mille, 1000) || injected(address, beats))
            response = std::max<uint32_t>(response, SLVERR);
        if (timing_.in_order || id != ANY_ORDER) {
            uint64_t& free = free_[timing_.in_order ? 0 : id];
            due = std::max(due, free);
            free = due + (write_ ? 1 : beats);
        }
        pending_.push(Burst{due, sequence_++, address, id, beats, response, 0});
        return due;
    }

    // Take the next burst that is due at edge `cycle` or before.
    bool start(uint64_t cycle, Burst& burst) {
        if (pending_.empty() || pending_.top().due > cycle) return false;
        burst = pending_.top();
        pending_.pop();
        return true;
    }

    // Answer every burst that touches [begin, end) with SLVERR.
    void inject(uint64_t begin, uint64_t end) { ranges_.push_back({begin, end}); }

    size_t pending() const { return pending_.size(); }
    uint64_t next_due() const { return pending_.top().due; }
    const std::shared_ptr<DramPort>& dram() const { return dram_; }

  private:
    enum Draw : uint64_t { SPIKE = 1, HOLD = 3, ERROR = 5 };
    struct Range {
        uint64_t begin, end;
    };
    struct Later {
        bool operator()(const Burst& a, const Burst& b) const {
            return a.due != b.due ? a.due > b.due : a.sequence > b.sequence;
        }
    };

    // A number in 0..range-1 that depends on the seed, the burst and its purpose.
    uint64_t draw(uint64_t purpose, uint64_t range) const {
        return mix(mix(key_ + purpose) ^ sequence_) % range;
    }

    // True for `share` bursts of every `whole`, on average.
    bool drawn(uint64_t purpose, uint32_t share, uint32_t whole) const {
        return share != 0 && draw(purpose, whole) < share;
    }

    bool injected(uint64_t address, uint32_t beats) const {
        const uint64_t end = address + uint64_t(beats) * beat_bytes_;
        for (const Range& range : ranges_)
            if (address < range.end && end > range.begin) return true;
        return false;
    }

    TimingParameters timing_;
    uint64_t latency_;
    bool write_;
    uint32_t beat_bytes_;
    uint64_t key_;
    std::shared_ptr<DramPort> dram_;
    uint64_t sequence_ = 0;
    std::map<uint32_t, uint64_t> free_;  // id (or 0) -> first edge after its last burst
    std::vector<Range> ranges_;
    std::priority_queue<Burst, std::vector<Burst>, Later> pending_;
};

}  // namespace rpaccel
