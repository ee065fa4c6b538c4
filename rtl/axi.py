"""AXI buses as flat signatures, so that top-level ports carry the names that AXI tools expect.

Both are written from the manager's side: a manager port is `Out(Axi4(...))`, a subordinate port
`In(AxiLite())`. With `m_axi0_` or `s_axil_` before the member they are the netlist's port names.

Ref: Arm IHI 0022, AMBA AXI and ACE protocol specification, chapters A2 (signals), B1 (AXI4-Lite).
"""

from __future__ import annotations

from enum import IntEnum

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rpaccel.spec.accelerator import AcceleratorConfig

__all__ = ["Axi4", "AxiLite", "Burst", "Response"]

AXI_LITE_ADDRESS_BITS = 16  # spec.registers: 16-bit byte addresses
AXI_LITE_DATA_BITS = 32


class Burst(IntEnum):
    """AxBURST. Only INCR is used."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Response(IntEnum):
    """xRESP. Bit 1 set means that the access failed."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class Axi4(wiring.Signature):
    """AXI4 without the optional sideband (lock, cache, prot, qos, region, user).

    Members as in the specification; widths from `config` (axi_id_bits, axi_address_bits,
    axi_data_bits).
    """

    def __init__(self, config: AcceleratorConfig) -> None:
        identity = config.axi_id_bits
        address = {"addr": config.axi_address_bits, "len": 8, "size": 3, "burst": 2, "valid": 1}
        members: dict[str, wiring.Member] = {}
        for channel in ("ar", "aw"):
            members[f"{channel}id"] = Out(identity)
            members |= {f"{channel}{name}": Out(bits) for name, bits in address.items()}
            members[f"{channel}ready"] = In(1)
        super().__init__(
            members
            | {
                "rid": In(identity),
                "rdata": In(config.axi_data_bits),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
                "wdata": Out(config.axi_data_bits),
                "wstrb": Out(config.beat_bytes),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(identity),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )


class AxiLite(wiring.Signature):
    """AXI4-Lite, 32-bit data."""

    def __init__(
        self,
        address_bits: int = AXI_LITE_ADDRESS_BITS,
        data_bits: int = AXI_LITE_DATA_BITS,
    ) -> None:
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(data_bits),
                "wstrb": Out(data_bits // 8),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(data_bits),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
