// C interface of the timing model alone, for the cocotb front.
#include "memory_timing.hpp"

using rpaccel::Burst;
using rpaccel::Schedule;
using rpaccel::TimingParameters;

extern "C" {

void* rpaccel_schedule_create(const TimingParameters* timing, uint32_t port, uint32_t write) {
    return new Schedule(*timing, port, write != 0);
}

void rpaccel_schedule_destroy(void* schedule) { delete static_cast<Schedule*>(schedule); }

uint64_t rpaccel_schedule_accept(void* schedule, uint64_t cycle, uint32_t id, uint64_t address,
                                 uint32_t beats) {
    return static_cast<Schedule*>(schedule)->accept(cycle, id, address, beats);
}

int rpaccel_schedule_start(void* schedule, uint64_t cycle, Burst* burst) {
    return static_cast<Schedule*>(schedule)->start(cycle, *burst) ? 1 : 0;
}
}
