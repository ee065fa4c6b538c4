// A requester without a memory of its own: offers a trace's bursts in order, one per cycle.
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory_timing.hpp"

namespace rpaccel {

// Mirrored by host/ideal_requester.py.
struct RequesterParameters {
    uint32_t port;
    uint32_t beat_bytes;
    uint32_t in_flight;    // bursts; 0: unlimited
    uint32_t ids;          // used in turn; 0: no order between any two bursts
    uint32_t burst_beats;  // longest burst
    uint32_t reserved;
};

struct RequesterResult {
    uint64_t cycles;  // from the first offer to the last beat, both included
    uint64_t bursts, beats;
    uint64_t activates;
    uint64_t errors;          // bursts answered with SLVERR
    uint64_t latency_cycles;  // from offer to first beat, summed over bursts
};

class Requester {
  public:
    Requester(const TimingParameters& timing, const RequesterParameters& parameters)
        : parameters_(parameters),
          reads_(timing, parameters.port, false, parameters.beat_bytes) {}

    // Read `bytes` bytes at `address`: whole beats, bursts that do not cross 4 KiB.
    void read(uint64_t address, uint64_t bytes) {
        const uint64_t beat_bytes = parameters_.beat_bytes;
        const uint64_t end = address + bytes;
        for (address -= address % beat_bytes; address < end;) {
            const uint64_t page = 4096 - address % 4096;
            const uint64_t most = std::min(parameters_.burst_beats * beat_bytes, page);
            const uint64_t length = std::min(most, (end - address + beat_bytes - 1) / beat_bytes *
                                                       beat_bytes);
            offer(address, uint32_t(length / beat_bytes));
            address += length;
        }
    }

    RequesterResult finish() {
        while (reads_.pending() != 0) serve();
        result_.cycles = bus_free_;
        result_.activates = reads_.dram() ? reads_.dram()->activates() : 0;
        return result_;
    }

  private:
    void offer(uint64_t address, uint32_t beats) {
        while (reads_.pending() != 0 && starts() < cycle_) serve();
        while (parameters_.in_flight != 0 && reads_.pending() + busy() >= parameters_.in_flight) {
            if (busy() != 0) {
                cycle_ = bus_free_;  // the slot is free in the cycle after the last beat
            } else {
                serve();
            }
        }
        const uint32_t id = parameters_.ids == 0 ? ANY_ORDER
                                                 : uint32_t(result_.bursts % parameters_.ids);
        reads_.accept(cycle_, id, address, beats);
        result_.latency_cycles -= cycle_;
        ++result_.bursts;
        ++cycle_;
    }

    uint64_t starts() const { return std::max(bus_free_, reads_.next_due()); }

    // One if a burst is on the bus in `cycle_`.
    uint32_t busy() const { return bus_free_ > cycle_ ? 1 : 0; }

    void serve() {
        const uint64_t start = starts();
        Burst burst{};
        reads_.start(start, burst);
        bus_free_ = start + burst.beats;
        result_.beats += burst.beats;
        result_.errors += burst.response != OKAY;
        result_.latency_cycles += start;
    }

    RequesterParameters parameters_;
    Schedule reads_;
    RequesterResult result_{};
    uint64_t cycle_ = 0;     // of the next offer
    uint64_t bus_free_ = 0;  // first cycle after the last beat so far
};

}  // namespace rpaccel
