// C interface of the timing model alone, for the cocotb front and the ideal requester.
#include "memory_timing.hpp"

#include "dram_requester.hpp"

using rpaccel::Burst;
using rpaccel::DramCommand;
using rpaccel::Requester;
using rpaccel::RequesterParameters;
using rpaccel::RequesterResult;
using rpaccel::Schedule;
using rpaccel::TimingParameters;

extern "C" {

// `beside`: the other direction of the same port, or null.
void* rpaccel_schedule_create(const TimingParameters* timing, uint32_t port, uint32_t write,
                              uint32_t beat_bytes, void* beside) {
    const auto dram = beside ? static_cast<Schedule*>(beside)->dram() : nullptr;
    return new Schedule(*timing, port, write != 0, beat_bytes, dram);
}

void rpaccel_schedule_destroy(void* schedule) { delete static_cast<Schedule*>(schedule); }

uint64_t rpaccel_schedule_accept(void* schedule, uint64_t cycle, uint32_t id, uint64_t address,
                                 uint32_t beats, uint32_t response) {
    return static_cast<Schedule*>(schedule)->accept(cycle, id, address, beats, response);
}

// Accept a read for a client that keeps the order of answers itself.
uint64_t rpaccel_schedule_book(uint64_t schedule, uint64_t cycle, uint64_t id, uint64_t address,
                               uint64_t beats) {
    Schedule* reads = reinterpret_cast<Schedule*>(schedule);
    const uint64_t due = reads->accept(cycle, uint32_t(id), address, uint32_t(beats));
    Burst burst;
    reads->start(due, burst);
    return due;
}

int rpaccel_schedule_start(void* schedule, uint64_t cycle, Burst* burst) {
    return static_cast<Schedule*>(schedule)->start(cycle, *burst) ? 1 : 0;
}

void rpaccel_schedule_inject(void* schedule, uint64_t begin, uint64_t end) {
    static_cast<Schedule*>(schedule)->inject(begin, end);
}

// Note the DRAM commands of this port from now on.
void rpaccel_schedule_record(void* schedule) { static_cast<Schedule*>(schedule)->dram()->record(); }

// Copy the first `count` commands noted; return how many there are.
uint64_t rpaccel_schedule_commands(void* schedule, DramCommand* commands, uint64_t count) {
    const std::vector<DramCommand>& log = static_cast<Schedule*>(schedule)->dram()->log();
    std::copy_n(log.begin(), std::min<uint64_t>(count, log.size()), commands);
    return log.size();
}

void rpaccel_requester_run(const TimingParameters* timing, const RequesterParameters* parameters,
                           uint64_t count, const uint64_t* addresses, const uint32_t* bytes,
                           RequesterResult* result) {
    Requester requester(*timing, *parameters);
    for (uint64_t i = 0; i < count; ++i) requester.read(addresses[i], bytes[i]);
    *result = requester.finish();
}
}
