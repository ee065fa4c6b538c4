// Bank model of one memory port: channels of banks behind a controller with a request window.
//
// Every request is booked when it arrives: its activates and column commands take the earliest times
// that the bookings before it leave free. A later request may use a gap that an earlier one, waiting
// for its bank, could not (ready first, then first come), and a booking never moves, so nothing
// starves. Column commands to one id keep their order.
//
// Times are femtoseconds since edge 0. Timing names are those of JESD79-4 and JESD235; a column
// command at time c has its data on the port at c + latency, so an idle hit, closed bank and miss
// take latency, + tRCD, + tRP + tRCD.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "dram_slots.hpp"

namespace rpaccel {

enum AddressField : uint8_t { COLUMN, GROUP, BANK, ROW };
constexpr uint32_t ANY_ORDER = UINT32_MAX;  // an id whose requests need not keep their order

// Mirrored by host/dram_timing.py.
struct DramParameters {
    uint64_t clock_fs;    // of the device
    uint64_t latency_fs;  // column command to data at the port, or an idle page hit
    uint64_t t_rcd_fs, t_rp_fs, t_ras_fs;
    uint64_t t_rtp_fs;  // read column command to precharge
    uint64_t t_wtp_fs;  // write column command to precharge
    uint64_t t_rrd_s_fs, t_rrd_l_fs, t_faw_fs;
    uint64_t t_ccd_s_fs, t_ccd_l_fs;
    uint64_t t_rtw_fs, t_wtr_fs;  // read to write column command, write to read
    uint64_t t_refi_fs, t_rfc_fs;  // t_refi_fs 0: no refresh
    uint32_t channels;             // of a port; 0: no bank model
    uint32_t stripe_bytes;         // consecutive bytes in one channel
    uint32_t atom_bytes;           // of a column command
    uint32_t window;               // requests that the controller looks at
    uint8_t field_kinds[8];        // AddressField, from the lowest bit above the atom
    uint8_t field_bits[8];         // 0: unused; bits above all fields belong to the row
};

// Mirrored by host/axi_memory.py.
struct DramCommand {
    uint64_t time_fs;
    uint64_t row;
    uint32_t channel, bank, group;
    uint32_t kind;  // 0 activate, 1 read, 2 write
};

// One DDR4 channel or HBM2 pseudo-channel.
class DramChannel {
  public:
    DramChannel(const DramParameters& timing, uint64_t first_refresh_fs)
        : timing_(timing), first_refresh_(first_refresh_fs), activates_(timing), columns_(timing) {}

    // Start the booking of a request that arrives at `time`.
    void begin(uint64_t time, uint32_t id, bool write) {
        ready_ = time;
        if (issued_.size() == timing_.window) ready_ = std::max(ready_, issued_.top());
        write_ = write;
        id_ = id;
        order_ = id == ANY_ORDER ? 0 : last_column_[id];
        last_ = 0;
        activates_.forget(ready_);
        columns_.forget(ready_);
    }

    // Book one atom of the request; return the time of its column command.
    uint64_t access(uint64_t atom) {
        const Place place = decode(atom);
        if (place.bank >= banks_.size()) banks_.resize(place.bank + 1);
        std::vector<OpenRow>& rows = banks_[place.bank];
        const uint64_t earliest = std::max(ready_, order_);
        for (OpenRow& open : rows) {
            if (open.row != place.row) continue;
            const uint64_t from = std::max(earliest, open.activated + timing_.t_rcd_fs);
            if (from >= open.close) continue;
            const uint64_t column = columns_.find(from, place.group, write_);
            if (column + recovery() <= open.close) return take(open, column, place);
        }
        rows.push_back(open_row(rows, place, earliest));
        const uint64_t column = columns_.find(
            std::max(earliest, rows.back().activated + timing_.t_rcd_fs), place.group, write_);
        const uint64_t taken = take(rows.back(), column, place);
        while (rows.size() > 1 && rows.front().close <= ready_) rows.erase(rows.begin());
        return taken;
    }

    // End the booking of the request.
    void end() {
        if (id_ != ANY_ORDER) last_column_[id_] = std::max(order_, last_);
        if (issued_.size() == timing_.window) {
            if (last_ <= issued_.top()) return;
            issued_.pop();
        }
        issued_.push(last_);
    }

    uint64_t activates() const { return activate_count_; }

    // Note every command booked from now on in `log`.
    void record(std::vector<DramCommand>* log, uint32_t channel) {
        log_ = log;
        channel_ = channel;
    }

  private:
    struct Place {
        uint32_t group = 0, bank = 0;  // bank: number in the channel, group included
        uint64_t row = 0;
    };
    struct OpenRow {
        uint64_t row, activated;
        uint64_t precharge;  // earliest
        uint64_t close;      // latest: the next row's precharge, or the one before a refresh
    };

    Place decode(uint64_t atom) const {
        Place place;
        uint32_t banks = 0, groups = 0, rows = 0, bank = 0;
        for (int i = 0; i < 8; ++i) {
            const uint32_t bits = timing_.field_bits[i];
            const uint64_t value = atom & ((uint64_t(1) << bits) - 1);
            atom >>= bits;
            if (timing_.field_kinds[i] == GROUP) {
                place.group |= uint32_t(value) << groups;
                groups += bits;
            } else if (timing_.field_kinds[i] == BANK) {
                bank |= uint32_t(value) << banks;
                banks += bits;
            } else if (timing_.field_kinds[i] == ROW) {
                place.row |= value << rows;
                rows += bits;
            }
        }
        place.row |= atom << rows;
        place.bank = bank << groups | place.group;
        return place;
    }

    uint64_t recovery() const { return write_ ? timing_.t_wtp_fs : timing_.t_rtp_fs; }

    uint64_t take(OpenRow& open, uint64_t column, const Place& place) {
        columns_.book(column, place.group, write_);
        note(column, place, write_ ? 2 : 1);
        open.precharge = std::max(open.precharge, column + recovery());
        last_ = std::max(last_, column);
        order_ = id_ == ANY_ORDER ? order_ : std::max(order_, column);
        return column;
    }

    void note(uint64_t time, const Place& place, uint32_t kind) {
        if (log_ != nullptr)
            log_->push_back({time, place.row, channel_, place.bank, place.group, kind});
    }

    // Start of the first refresh after `time`.
    uint64_t refresh_after(uint64_t time) const {
        if (timing_.t_refi_fs == 0) return UINT64_MAX / 2;
        if (time < first_refresh_) return first_refresh_;
        return time + timing_.t_refi_fs - (time - first_refresh_) % timing_.t_refi_fs;
    }

    // End of the refresh that runs at `time`, or `time`.
    uint64_t not_refreshing(uint64_t time) const {
        if (timing_.t_refi_fs == 0 || time < first_refresh_) return time;
        const uint64_t since = (time - first_refresh_) % timing_.t_refi_fs;
        return since < timing_.t_rfc_fs ? time + timing_.t_rfc_fs - since : time;
    }

    // Open a row so that a column command at `earliest` or later can use it before it is closed.
    OpenRow open_row(std::vector<OpenRow>& rows, const Place& place, uint64_t earliest) {
        uint64_t time = ready_;
        bool precharged = false;
        if (!rows.empty()) {
            const uint64_t precharge = std::max(ready_, rows.back().precharge);
            precharged = precharge <= rows.back().close;
            time = precharged ? precharge + timing_.t_rp_fs
                              : std::max(ready_, rows.back().close + timing_.t_rp_fs);
        }
        for (;;) {
            time = activates_.find(not_refreshing(time), place.group);
            if (time != not_refreshing(time)) continue;
            const uint64_t refresh = refresh_after(time);
            const uint64_t column = columns_.find(
                std::max(earliest, time + timing_.t_rcd_fs), place.group, write_);
            const uint64_t precharge = std::max(time + timing_.t_ras_fs, column + recovery());
            if (precharge + timing_.t_rp_fs <= refresh) {
                if (precharged && !rows.empty())
                    rows.back().close = std::min(rows.back().close, time - timing_.t_rp_fs);
                activates_.book(time, place.group);
                note(time, place, 0);
                ++activate_count_;
                return {place.row, time, precharge, refresh - timing_.t_rp_fs};
            }
            time = refresh + timing_.t_rfc_fs;
        }
    }

    DramParameters timing_;
    uint64_t first_refresh_;
    ActivateSlots activates_;
    ColumnSlots columns_;
    std::vector<std::vector<OpenRow>> banks_;  // rows of a bank that can still be used, in order
    std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> issued_;  // largest ones
    std::unordered_map<uint32_t, uint64_t> last_column_;                           // by id
    uint64_t activate_count_ = 0;
    std::vector<DramCommand>* log_ = nullptr;
    uint32_t channel_ = 0;
    // The request being booked.
    uint64_t ready_ = 0, order_ = 0, last_ = 0;
    uint32_t id_ = 0;
    bool write_ = false;
};

// The channels of one port.
class DramPort {
  public:
    DramPort(const DramPort&) = delete;
    DramPort& operator=(const DramPort&) = delete;
    DramPort(const DramParameters& timing, uint32_t port) : timing_(timing) {
        // Controllers are not in step: first refreshes lie evenly in one interval.
        for (uint32_t channel = 0; channel < timing.channels; ++channel) {
            const uint64_t step = (uint64_t(port) * timing.channels + channel) * 7 % 16;
            channels_.emplace_back(timing, timing.t_refi_fs + timing.t_refi_fs / 16 * step);
        }
    }

    // Book a burst that is accepted at edge `cycle`. Returns for a read the edge at which its first
    // beat can be taken if a beat follows every cycle, for a write the edge of its last command.
    uint64_t accept(uint64_t cycle, uint32_t id, bool write, uint64_t address, uint32_t beats,
                    uint32_t beat_bytes) {
        for (DramChannel& channel : channels_) channel.begin(cycle * timing_.clock_fs, id, write);
        uint64_t due = 0, latest = 0;
        for (uint32_t beat = 0; beat < beats; ++beat) {
            uint64_t byte = address + uint64_t(beat) * beat_bytes;
            const uint64_t end = byte + beat_bytes;
            for (byte -= byte % timing_.atom_bytes; byte < end; byte += timing_.atom_bytes) {
                if (byte == fetched_) continue;  // beats smaller than an atom share it
                latest = std::max(latest, access(byte));
                fetched_ = byte;
            }
            const uint64_t edge = edge_of(latest + (write ? 0 : timing_.latency_fs));
            due = std::max(due, write ? edge : edge - std::min<uint64_t>(edge, beat));
        }
        fetched_ = UINT64_MAX;
        for (DramChannel& channel : channels_) channel.end();
        return due;
    }

    uint64_t activates() const {
        uint64_t total = 0;
        for (const DramChannel& channel : channels_) total += channel.activates();
        return total;
    }

    void record() {
        for (uint32_t i = 0; i < channels_.size(); ++i) channels_[i].record(&log_, i);
    }
    const std::vector<DramCommand>& log() const { return log_; }

  private:
    uint64_t edge_of(uint64_t time) const { return (time + timing_.clock_fs - 1) / timing_.clock_fs; }

    uint64_t access(uint64_t byte) {
        const uint64_t stripe = byte / timing_.stripe_bytes;
        const uint64_t local = stripe / timing_.channels * timing_.stripe_bytes +
                               byte % timing_.stripe_bytes;
        return channels_[stripe % timing_.channels].access(local / timing_.atom_bytes);
    }

    DramParameters timing_;
    std::vector<DramChannel> channels_;
    std::vector<DramCommand> log_;
    uint64_t fetched_ = UINT64_MAX;
};

}  // namespace rpaccel
