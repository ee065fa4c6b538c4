// The timing model of the external memory, shared by every front: when is which burst answered.
//
// A cycle is the number of a rising clock edge. A request accepted at edge t is due at edge
// t + latency (+ jitter): its first beat can be taken at that edge, then one beat per cycle.
// Bursts are served whole, in the order of (due, sequence). In order: a burst is due when the one
// before it has had time to pass. Out of order: that holds per id only, so ids overtake each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <queue>
#include <vector>

namespace rpaccel {

// Mirrored by host/axi_memory.py.
struct TimingParameters {
    uint64_t seed;
    uint32_t read_latency_cycles;
    uint32_t write_latency_cycles;
    uint32_t max_outstanding;  // bursts per port and direction
    uint32_t jitter_cycles;    // uniform extra latency, 0..jitter_cycles
    uint32_t stall_per_mille;  // of the cycles of each channel, in the C++ front
    uint32_t in_order;
};

struct Burst {
    uint64_t due;
    uint64_t sequence;
    uint64_t address;
    uint32_t id;
    uint32_t beats;
};

inline uint64_t mix(uint64_t x) {  // splitmix64
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// Answers of one direction of one port.
class Schedule {
  public:
    Schedule(const TimingParameters& timing, uint32_t port, bool write)
        : latency_(write ? timing.write_latency_cycles : timing.read_latency_cycles),
          jitter_(timing.jitter_cycles),
          in_order_(timing.in_order != 0),
          key_(mix(timing.seed + 2 * port + (write ? 1 : 0))) {}

    // Accept a request at edge `cycle`; return the edge at which its first beat is due.
    uint64_t accept(uint64_t cycle, uint32_t id, uint64_t address, uint32_t beats) {
        uint64_t due = cycle + latency_;
        if (jitter_ != 0) due += mix(key_ ^ sequence_) % (jitter_ + 1);
        uint64_t& free = free_[in_order_ ? 0 : id];
        due = std::max(due, free);
        free = due + beats;
        pending_.push(Burst{due, sequence_++, address, id, beats});
        return due;
    }

    // Take the next burst that is due at edge `cycle` or before.
    bool start(uint64_t cycle, Burst& burst) {
        if (pending_.empty() || pending_.top().due > cycle) return false;
        burst = pending_.top();
        pending_.pop();
        return true;
    }

    size_t pending() const { return pending_.size(); }

  private:
    struct Later {
        bool operator()(const Burst& a, const Burst& b) const {
            return a.due != b.due ? a.due > b.due : a.sequence > b.sequence;
        }
    };
    uint64_t latency_;
    uint32_t jitter_;
    bool in_order_;
    uint64_t key_;
    uint64_t sequence_ = 0;
    std::map<uint32_t, uint64_t> free_;  // id (or 0) -> first edge after its last burst
    std::priority_queue<Burst, std::vector<Burst>, Later> pending_;
};

}  // namespace rpaccel
