// A byte memory behind AXI4 ports, paced by memory_timing.hpp, with error injection and checks of
// what the device does on its pins.
#pragma once

#include <cstdlib>
#include <cstring>
#include <deque>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "memory_timing.hpp"

namespace rpaccel {

enum Channel : uint32_t { AR, R, AW, W, B };

// Bytes at addresses 0..size-1. Pages appear when they are touched.
class ByteMemory {
  public:
    explicit ByteMemory(uint64_t size)
        : size_(size), bytes_(static_cast<uint8_t*>(std::calloc(size, 1))) {
        if (bytes_ == nullptr) throw std::bad_alloc();
    }
    ~ByteMemory() { std::free(bytes_); }
    ByteMemory(const ByteMemory&) = delete;
    ByteMemory& operator=(const ByteMemory&) = delete;

    bool contains(uint64_t address, uint64_t length) const {
        return address <= size_ && length <= size_ - address;
    }
    uint8_t* at(uint64_t address) { return bytes_ + address; }

    // Answer every access to [begin, end) with SLVERR. kinds: 1 reads, 2 writes, 3 both.
    void inject(uint64_t begin, uint64_t end, uint32_t kinds) {
        faults_.push_back({begin, end, kinds});
    }
    void clear_faults() { faults_.clear(); }

    Response response(uint64_t address, uint32_t length, uint32_t kind) const {
        if (!contains(address, length)) return DECERR;
        for (const Fault& fault : faults_)
            if ((fault.kinds & kind) != 0 && address < fault.end && address + length > fault.begin)
                return SLVERR;
        return OKAY;
    }

  private:
    struct Fault {
        uint64_t begin, end;
        uint32_t kinds;
    };
    uint64_t size_;
    uint8_t* bytes_;
    std::vector<Fault> faults_;
};

struct PortCounters {
    uint64_t read_bursts, read_beats, write_bursts, write_beats;
};

template <class Pin>
uint8_t* pin_bytes(Pin& pin) {  // little-endian hosts only, as Verilator's own 32-bit words
    if constexpr (std::is_integral_v<Pin>) return reinterpret_cast<uint8_t*>(&pin);
    else return reinterpret_cast<uint8_t*>(pin.data());
}

// One subordinate port. `Pins` names the pins of the model's port, see device.cpp.
// Every cycle: drive() before the model settles, sample() before the rising edge.
template <class Pins>
class AxiPort {
  public:
    AxiPort(Pins pins, ByteMemory& memory, const TimingParameters& timing, uint32_t number)
        : pins_(pins),
          memory_(memory),
          timing_(timing),
          stall_key_(mix(timing.seed ^ (0xA5A5ull + number))),
          reads_(timing, number, false, Pins::BYTES),
          writes_(timing, number, true, Pins::BYTES, reads_.dram()) {}

    void drive(uint64_t cycle) {
        arready_ = reading_ < timing_.max_outstanding && !stalled(cycle, AR);
        awready_ = writing_ < timing_.max_outstanding && !stalled(cycle, AW);
        wready_ = data_.size() < 64 && !stalled(cycle, W);
        pins_.arready() = arready_;
        pins_.awready() = awready_;
        pins_.wready() = wready_;
        if (!rvalid_) present_read(cycle);
        if (!bvalid_ && writes_.pending() != 0 && !stalled(cycle, B)) {
            Burst burst;
            if (writes_.start(cycle, burst)) {
                bvalid_ = true;
                pins_.bid() = burst.id;
                pins_.bresp() = burst.response;
            }
        }
        pins_.rvalid() = rvalid_;
        pins_.bvalid() = bvalid_;
    }

    void sample(uint64_t cycle) {
        check_stable();
        if (rvalid_ && pins_.rready()) {
            rvalid_ = false;
            ++counters_.read_beats;
            if (++beat_ == burst_.beats) {
                --reading_;
                beat_ = burst_.beats = 0;
            }
        }
        if (bvalid_ && pins_.bready()) {
            bvalid_ = false;
            --writing_;
        }
        if (arready_ && pins_.arvalid()) {
            check_burst("AR", pins_.araddr(), pins_.arlen(), pins_.arsize(), pins_.arburst());
            ++reading_;
            ++counters_.read_bursts;
            reads_.accept(cycle, pins_.arid(), pins_.araddr(), pins_.arlen() + 1u);
        }
        if (awready_ && pins_.awvalid()) {
            check_burst("AW", pins_.awaddr(), pins_.awlen(), pins_.awsize(), pins_.awburst());
            ++writing_;
            ++counters_.write_bursts;
            Burst burst{};
            burst.address = pins_.awaddr();
            burst.id = pins_.awid();
            burst.beats = pins_.awlen() + 1u;
            addresses_.push_back(burst);
        }
        if (wready_ && pins_.wvalid()) {
            Beat beat;
            beat.bytes.assign(pin_bytes(pins_.wdata()), pin_bytes(pins_.wdata()) + Pins::BYTES);
            beat.strobe.assign(pin_bytes(pins_.wstrb()),
                               pin_bytes(pins_.wstrb()) + (Pins::BYTES + 7) / 8);
            beat.last = pins_.wlast();
            data_.push_back(std::move(beat));
            ++counters_.write_beats;
        }
        while (!addresses_.empty() && !data_.empty()) write_beat(cycle);
    }

    const PortCounters& counters() const { return counters_; }
    const std::string& violation() const { return violation_; }
    bool idle() const { return reading_ == 0 && writing_ == 0; }

  private:
    struct Beat {
        std::vector<uint8_t> bytes, strobe;
        bool last;
    };

    bool stalled(uint64_t cycle, Channel channel) const {
        if (timing_.stall_per_mille == 0) return false;
        return mix(stall_key_ + 8 * cycle + channel) % 1000 < timing_.stall_per_mille;
    }

    void present_read(uint64_t cycle) {
        if (beat_ == burst_.beats && !reads_.start(cycle, burst_)) return;
        if (stalled(cycle, R)) return;
        rvalid_ = true;
        const uint64_t address = burst_.address + uint64_t(beat_) * Pins::BYTES;
        const uint32_t response = std::max<uint32_t>(
            memory_.response(address, Pins::BYTES, 1), burst_.response);
        uint8_t* data = pin_bytes(pins_.rdata());
        if (response == OKAY) std::memcpy(data, memory_.at(address), Pins::BYTES);
        else std::memset(data, 0xA5, Pins::BYTES);  // never to be used by the device
        pins_.rid() = burst_.id;
        pins_.rresp() = response;
        pins_.rlast() = beat_ + 1 == burst_.beats;
    }

    void write_beat(uint64_t cycle) {
        Burst& burst = addresses_.front();
        const Beat beat = std::move(data_.front());
        data_.pop_front();
        const uint64_t address = burst.address + write_beat_ * Pins::BYTES;
        const Response response = memory_.response(address, Pins::BYTES, 2);
        write_response_ = std::max(write_response_, response);
        if (response == OKAY)
            for (uint32_t i = 0; i < Pins::BYTES; ++i)
                if (beat.strobe[i / 8] >> (i % 8) & 1) *memory_.at(address + i) = beat.bytes[i];
        ++write_beat_;
        if (beat.last != (write_beat_ == burst.beats)) violate("WLAST is wrong", address);
        if (write_beat_ < burst.beats) return;
        writes_.accept(cycle, burst.id, burst.address, burst.beats, write_response_);
        write_response_ = OKAY;
        write_beat_ = 0;
        addresses_.pop_front();
    }

    void check_burst(const char* channel, uint64_t address, uint32_t length, uint32_t size,
                     uint32_t kind) {
        if (kind != 1) violate(std::string(channel) + " must be an INCR burst", address);
        if ((1u << size) != Pins::BYTES)
            violate(std::string(channel) + "SIZE must be a full beat", address);
        if (length > 15) violate(std::string(channel) + " burst is longer than 16", address);
        if (address % Pins::BYTES != 0) violate(std::string(channel) + " is unaligned", address);
        if (address % 4096 + (length + 1) * Pins::BYTES > 4096)
            violate(std::string(channel) + " burst crosses 4 KiB", address);
    }

    // A valid request that was not accepted must stay as it is.
    void check_stable() {
        if (ar_held_ && (!pins_.arvalid() || pins_.araddr() != ar_address_))
            violate("AR changed before ARREADY", ar_address_);
        if (aw_held_ && (!pins_.awvalid() || pins_.awaddr() != aw_address_))
            violate("AW changed before AWREADY", aw_address_);
        if (w_held_ && !pins_.wvalid()) violate("WVALID fell before WREADY", 0);
        ar_held_ = pins_.arvalid() && !arready_;
        aw_held_ = pins_.awvalid() && !awready_;
        w_held_ = pins_.wvalid() && !wready_;
        ar_address_ = pins_.araddr();
        aw_address_ = pins_.awaddr();
    }

    void violate(const std::string& what, uint64_t address) {
        if (violation_.empty())
            violation_ = what + " (address " + std::to_string(address) + ")";
    }

    Pins pins_;
    ByteMemory& memory_;
    TimingParameters timing_;
    uint64_t stall_key_;
    Schedule reads_, writes_;
    Burst burst_{};          // being read
    uint32_t beat_ = 0;      // of burst_
    uint32_t reading_ = 0;   // accepted, last beat not taken
    uint32_t writing_ = 0;   // accepted, response not taken
    bool arready_ = false, awready_ = false, wready_ = false, rvalid_ = false, bvalid_ = false;
    bool ar_held_ = false, aw_held_ = false, w_held_ = false;
    uint64_t ar_address_ = 0, aw_address_ = 0;
    std::deque<Burst> addresses_;  // write requests without all of their data
    std::deque<Beat> data_;
    uint32_t write_beat_ = 0;
    Response write_response_ = OKAY;
    PortCounters counters_{};
    std::string violation_;
};

}  // namespace rpaccel
