// Free times between booked DRAM commands of one channel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace rpaccel {

// Booked commands in the order of their times; old ones are forgotten from the front.
struct Booking {
    uint64_t time;
    uint32_t group;
    bool write;
};

class Bookings {
  public:
    size_t size() const { return bookings_.size() - first_; }
    const Booking& operator[](size_t i) const { return bookings_[first_ + i]; }

    // Number of the first booking at `time` or later.
    size_t from(uint64_t time) const {
        size_t i = size();
        if (i != 0 && (*this)[i - 1].time < time) return i;  // the usual case
        const auto begin = bookings_.begin() + first_;
        return std::lower_bound(begin, bookings_.end(), time,
                                [](const Booking& b, uint64_t t) { return b.time < t; }) -
               begin;
    }

    void insert(const Booking& booking) {
        bookings_.insert(bookings_.begin() + first_ + from(booking.time), booking);
    }

    // Drop bookings before `time`.
    void forget(uint64_t time) {
        while (first_ < bookings_.size() && bookings_[first_].time < time) ++first_;
        if (first_ > 4096 && first_ * 2 > bookings_.size()) {
            bookings_.erase(bookings_.begin(), bookings_.begin() + first_);
            first_ = 0;
        }
    }

  private:
    std::vector<Booking> bookings_;
    size_t first_ = 0;
};

// Column commands: tCCD_S and tCCD_L (at most 2 tCCD_S), and the turnarounds of the data bus.
class ColumnSlots {
  public:
    template <class Parameters>
    explicit ColumnSlots(const Parameters& timing)
        : short_(timing.t_ccd_s_fs),
          long_(timing.t_ccd_l_fs),
          to_write_(timing.t_rtw_fs),
          to_read_(timing.t_wtr_fs) {}

    // Return the earliest free time at `time` or later.
    uint64_t find(uint64_t time, uint32_t group, bool write) {
        const size_t kind = 2 * group + write;
        if (kind >= full_.size()) full_.resize(kind + 1);
        Full& full = full_[kind];
        const bool inside = full.begin <= time && time <= full.end;
        const uint64_t found = search(inside ? full.end : time, group, write);
        full = {inside ? full.begin : time, found};
        return found;
    }

    void book(uint64_t time, uint32_t group, bool write) { bookings_.insert({time, group, write}); }

    void forget(uint64_t time) {
        const uint64_t reach = std::max({long_, to_write_, to_read_});
        if (time > reach) bookings_.forget(time - reach);
    }

  private:
    struct Full {
        uint64_t begin = 0, end = 0;  // nothing is free here: bookings are never taken back
    };

    uint64_t search(uint64_t time, uint32_t group, bool write) const {
        const Booking mine{time, group, write};
        for (size_t i = bookings_.from(time);; ++i) {
            if (i != 0) time = std::max(time, bookings_[i - 1].time + gap(bookings_[i - 1], mine));
            if (i == bookings_.size()) return time;
            if (time + gap(mine, bookings_[i]) <= bookings_[i].time) return time;
        }
    }

    uint64_t gap(const Booking& a, const Booking& b) const {
        if (a.write != b.write) return a.write ? to_read_ : to_write_;
        return a.group == b.group ? long_ : short_;
    }

    uint64_t short_, long_, to_write_, to_read_;
    Bookings bookings_;
    std::vector<Full> full_;  // by group and kind
};

// Activates: tRRD_S and tRRD_L (at most 2 tRRD_S), and four in any tFAW.
class ActivateSlots {
  public:
    template <class Parameters>
    explicit ActivateSlots(const Parameters& timing)
        : short_(timing.t_rrd_s_fs), long_(timing.t_rrd_l_fs), four_(timing.t_faw_fs) {}

    // Return the earliest free time at `time` or later.
    uint64_t find(uint64_t time, uint32_t group) const {
        for (size_t i = bookings_.from(time);; ++i) {
            if (i != 0) time = std::max(time, bookings_[i - 1].time + gap(i - 1, group));
            if (i >= 4) time = std::max(time, bookings_[i - 4].time + four_);
            if (i == bookings_.size()) return time;
            if (time + gap(i, group) <= bookings_[i].time && fits(i, time)) return time;
        }
    }

    void book(uint64_t time, uint32_t group) { bookings_.insert({time, group, false}); }

    void forget(uint64_t time) {
        const uint64_t reach = std::max(long_, four_);
        if (time > reach) bookings_.forget(time - reach);
    }

  private:
    uint64_t gap(size_t i, uint32_t group) const {
        return bookings_[i].group == group ? long_ : short_;
    }

    // Any five activates in a row with one at `time` before booking `i` span tFAW.
    bool fits(size_t i, uint64_t time) const {
        for (size_t after = 1; after <= 4 && i + after <= bookings_.size(); ++after) {
            const size_t before = 4 - after;
            if (before > i) continue;
            const uint64_t first = before == 0 ? time : bookings_[i - before].time;
            if (bookings_[i + after - 1].time < first + four_) return false;
        }
        return true;
    }

    uint64_t short_, long_, four_;
    Bookings bookings_;
};

}  // namespace rpaccel
