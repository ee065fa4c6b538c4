// Port `number` of the model on its memory: PORT_PINS(number) defines Pins<number>, as axi_memory.hpp
// wants it; the others are for a class with `model`, `memory`, `timing`, `cycles` and
// `int fail(where, what)`. Include after model.hpp.
#pragma once

#include "Vrpaccel.h"

#define PIN(number, name) \
    auto& name() { return model->m_axi##number##_##name; }
#define PORT_PINS(number)                                                                    \
    struct Pins##number {                                                                    \
        static constexpr uint32_t BYTES = RPACCEL_BEAT_BYTES;                                \
        Vrpaccel* model;                                                                     \
        PIN(number, arid) PIN(number, araddr) PIN(number, arlen) PIN(number, arsize)         \
        PIN(number, arburst) PIN(number, arvalid) PIN(number, arready) PIN(number, rid)      \
        PIN(number, rdata) PIN(number, rresp) PIN(number, rlast) PIN(number, rvalid)         \
        PIN(number, rready) PIN(number, awid) PIN(number, awaddr) PIN(number, awlen)         \
        PIN(number, awsize) PIN(number, awburst) PIN(number, awvalid) PIN(number, awready)   \
        PIN(number, wdata) PIN(number, wstrb) PIN(number, wlast) PIN(number, wvalid)         \
        PIN(number, wready) PIN(number, bid) PIN(number, bresp) PIN(number, bvalid)          \
        PIN(number, bready)                                                                  \
    };

#define PORT_MEMBER(number) AxiPort<Pins##number> port##number;
#define PORT_INIT(number) , port##number(Pins##number{model.get()}, memory, timing, number)
#define PORT_DRIVE(number) port##number.drive(cycles);
#define PORT_SAMPLE(number)    \
    port##number.sample(cycles); \
    if (!port##number.violation().empty()) return fail("port " #number, port##number.violation());
