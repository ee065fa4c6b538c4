"""Parameters of the bank model of memory (host/cpp/dram.hpp), and the presets `ddr4` and `hbm2`.

Names of timings are those of the standards: JESD79-4 (DDR4), JESD235 (HBM). The table of sources
and what the presets give is docs/memory_model.md.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass, fields

__all__ = ["DDR4", "HBM2", "AddressField", "DramParameters", "DramTiming"]

MAP_FIELDS = 8
MAX_BANK_BITS = 10
FEMTOSECONDS_PER_NS = 1e6
_KINDS = {"C": 0, "G": 1, "B": 2, "R": 3}  # rpaccel::AddressField


class DramParameters(ctypes.Structure):
    """`rpaccel::DramParameters`."""

    _fields_ = [
        ("clock_fs", ctypes.c_uint64),
        ("latency_fs", ctypes.c_uint64),
        *((f"t_{name}_fs", ctypes.c_uint64) for name in ("rcd", "rp", "ras", "rtp", "wtp")),
        *((f"t_{name}_fs", ctypes.c_uint64) for name in ("rrd_s", "rrd_l", "faw")),
        *((f"t_{name}_fs", ctypes.c_uint64) for name in ("ccd_s", "ccd_l")),
        *((f"t_{name}_fs", ctypes.c_uint64) for name in ("rtw", "wtr", "refi", "rfc")),
        ("channels", ctypes.c_uint32),
        ("stripe_bytes", ctypes.c_uint32),
        ("atom_bytes", ctypes.c_uint32),
        ("window", ctypes.c_uint32),
        ("field_kinds", ctypes.c_uint8 * MAP_FIELDS),
        ("field_bits", ctypes.c_uint8 * MAP_FIELDS),
    ]


@dataclass(frozen=True, kw_only=True)
class AddressField:
    """Some bits of an address: of the row "R", bank group "G", bank "B" or column "C"."""

    kind: str
    bits: int


@dataclass(frozen=True, kw_only=True)
class DramTiming:
    """What is behind one AXI port: `channels` channels, each with banks and a controller.

    Parameters
    ----------
    page_hit_ns, page_closed_ns, page_miss_ns : float  Idle read latency at the port when the row is
        open, no row is open, another row is open. Their differences are tRCD and tRP.
    t_ras_ns, t_rtp_ns, t_wtp_ns : float  Activate, read and write command to precharge.
    t_rrd_s_ns, t_rrd_l_ns : float  Activates to different bank groups, to the same (at most twice
        as long).
    t_faw_ns : float  Window that holds at most four activates.
    t_ccd_s_ns, t_ccd_l_ns : float  Column commands to different bank groups: an atom on the data
        bus; to the same group (at most twice as long).
    t_rtw_ns, t_wtr_ns : float  Column commands of different kinds: write after read, read after
        write.
    t_refi_ns, t_rfc_ns : float  Interval and length of the all-bank refresh; t_refi_ns 0: none.
    atom_bytes : int  Bytes of a column command, a power of two.
    address_map : str  Fields from the highest bit down to the atom, as "14R-1G-2B-5C-1G"; address
        bits above belong to the row.
    clock_hz : float  Of the device [Hz].
    switch_ns : float  Added to every latency: a switch between port and controller.
    channels : int  Channels of the port, 1..16.
    stripe_bytes : int  Consecutive bytes in one channel, a power of two.
    window : int  Requests that the controller looks at, 1..1024.
    """

    page_hit_ns: float
    page_closed_ns: float
    page_miss_ns: float
    t_ras_ns: float
    t_rtp_ns: float
    t_wtp_ns: float
    t_rrd_s_ns: float
    t_rrd_l_ns: float
    t_faw_ns: float
    t_ccd_s_ns: float
    t_ccd_l_ns: float
    t_rtw_ns: float
    t_wtr_ns: float
    t_refi_ns: float
    t_rfc_ns: float
    atom_bytes: int
    address_map: str
    clock_hz: float = 250e6
    switch_ns: float = 0.0
    channels: int = 1
    stripe_bytes: int = 4096
    window: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_ns") and not 0 <= value <= 1e6:
                raise ValueError(f"{field.name} must be in 0..1e6, not {value}")
        if not 1e6 <= self.clock_hz <= 1e10:
            raise ValueError(f"clock_hz must be in 1e6..1e10, not {self.clock_hz}")
        self._check_order()
        for name, low, high in [("channels", 1, 16), ("window", 1, 1024)]:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        for name, low in [("atom_bytes", 8), ("stripe_bytes", self.atom_bytes)]:
            value = getattr(self, name)
            if not low <= value <= 1 << 30 or value & (value - 1):
                raise ValueError(f"{name} must be a power of two in {low}..2**30, not {value}")
        _ = self.address_fields

    def _check_order(self) -> None:
        if not 0 < self.page_hit_ns <= self.page_closed_ns <= self.page_miss_ns:
            raise ValueError(
                "page_hit_ns, page_closed_ns, page_miss_ns must rise from above 0, not "
                f"{self.page_hit_ns}, {self.page_closed_ns}, {self.page_miss_ns}"
            )
        for name in ("rrd", "ccd"):
            short, long = getattr(self, f"t_{name}_s_ns"), getattr(self, f"t_{name}_l_ns")
            if not 0 < short <= long <= 2 * short:
                raise ValueError(
                    f"t_{name}_l_ns must be in t_{name}_s_ns..2 t_{name}_s_ns = "
                    f"{short}..{2 * short}, not {long}"
                )
        row = self.t_rcd_ns + max(self.t_ras_ns, self.t_wtp_ns, self.t_rtp_ns) + self.t_rp_ns
        if self.t_refi_ns and self.t_refi_ns < self.t_rfc_ns + 2 * row:
            raise ValueError(
                f"t_refi_ns must be 0 or leave time for two rows after a refresh of "
                f"{self.t_rfc_ns} ns, not {self.t_refi_ns}"
            )

    @property
    def address_fields(self) -> tuple[AddressField, ...]:
        """Fields of `address_map`, lowest first."""
        found = [re.fullmatch(r"(\d{1,2})([RGBC])", part) for part in self.address_map.split("-")]
        result = [
            AddressField(kind=match[2], bits=int(match[1])) for match in reversed(found) if match
        ]
        if len(result) != len(found) or len(found) > MAP_FIELDS:
            raise ValueError(
                f"address_map must be at most {MAP_FIELDS} fields such as 14R-1G-2B-5C-1G, "
                f"not {self.address_map!r}"
            )
        kinds = {kind: sum(f.bits for f in result if f.kind == kind) for kind in _KINDS}
        if not kinds["R"] or kinds["G"] + kinds["B"] > MAX_BANK_BITS:
            raise ValueError(
                f"address_map must have row bits and at most {MAX_BANK_BITS} bits of G and B, "
                f"not {self.address_map!r}"
            )
        return tuple(result)

    def _bits(self, kinds: str) -> int:
        return sum(field.bits for field in self.address_fields if field.kind in kinds)

    @property
    def banks(self) -> int:
        """Banks of a channel, over all groups."""
        return 1 << self._bits("GB")

    @property
    def page_bytes(self) -> int:
        """Bytes of an open row."""
        return self.atom_bytes << self._bits("C")

    @property
    def capacity_bytes(self) -> int:
        """Bytes of all channels; addresses above are further rows."""
        return self.channels * (self.atom_bytes << self._bits("RGBC"))

    @property
    def t_rcd_ns(self) -> float:
        """Activate to column command [ns]."""
        return self.page_closed_ns - self.page_hit_ns

    @property
    def t_rp_ns(self) -> float:
        """Precharge to activate [ns]."""
        return self.page_miss_ns - self.page_closed_ns

    @property
    def t_rc_ns(self) -> float:
        """Activate to activate of one bank [ns]."""
        return self.t_ras_ns + self.t_rp_ns

    @property
    def peak_bytes_per_s(self) -> float:
        """Data rate of all channels [B/s]."""
        return self.channels * self.atom_bytes / self.t_ccd_s_ns * 1e9

    @property
    def parameters(self) -> DramParameters:
        """The parameters as the C interface takes them."""
        result = DramParameters(
            clock_fs=round(1e15 / self.clock_hz),
            latency_fs=round((self.page_hit_ns + self.switch_ns) * FEMTOSECONDS_PER_NS),
            channels=self.channels,
            stripe_bytes=self.stripe_bytes,
            atom_bytes=self.atom_bytes,
            window=self.window,
        )
        for name, *_ in DramParameters._fields_:
            if name.startswith("t_"):
                value = getattr(self, name.removesuffix("_fs") + "_ns")
                setattr(result, name, round(value * FEMTOSECONDS_PER_NS))
        for number, field in enumerate(self.address_fields):
            result.field_kinds[number] = _KINDS[field.kind]
            result.field_bits[number] = field.bits
        return result


# Sources: [F] facts of measurements on an Alveo U280 (Wang et al., "Shuhai", FCCM 2020);
# [3] DRAMsim3 configs, [g] gem5 src/mem/DRAMInterface.py, both after the standards' tables and data
# sheets; see docs/memory_model.md.
HBM2 = DramTiming(  # one pseudo-channel of 64 bits at 1.8 Gb/s, 256 MB
    page_hit_ns=106.7,  # [F] 48 cycles of 450 MHz
    page_closed_ns=122.2,  # [F] 55 cycles
    page_miss_ns=137.8,  # [F] 62 cycles
    t_ras_ns=34.0,  # [3] HBM2_4Gb_x128; tRC 49.6 explains 13.3 ns over four banks [F]
    t_rtp_ns=5.0,  # [g] HBM_2000_4H_1x64
    t_wtp_ns=23.0,  # [g] CWL 7 + BL 2 + tWR 14
    t_rrd_s_ns=4.0,  # [3]
    t_rrd_l_ns=6.0,  # [3]
    t_faw_ns=21.0,  # 16 [g] .. 30 [3]; fitted: random 64 B reads get 36 % of peak
    t_ccd_s_ns=32 / 14.4,  # [F] 32 B at the peak of 14.4 GB/s
    t_ccd_l_ns=64 / 14.4,  # fitted: 6.7 GB/s inside one bank group [F]
    t_rtw_ns=18.0,  # [g]
    t_wtr_ns=18.0,  # [g] CWL 7 + BL 2 + tWTR_L 9
    t_refi_ns=3900.0,  # [3]
    t_rfc_ns=260.0,  # [3]
    atom_bytes=32,  # [F] BL4
    address_map="14R-1G-2B-5C-1G",  # [F] RGBCG; bits from 256 MB, 16 banks, pages of 1 KB
)

DDR4 = DramTiming(  # one 64-bit channel of DDR4-2400, eight 8 Gb x8 chips, 8 GB
    page_hit_ns=73.3,  # [F] 22 cycles of 300 MHz
    page_closed_ns=89.9,  # [F] 27 cycles
    page_miss_ns=106.6,  # [F] 32 cycles
    t_ras_ns=32.0,  # [g] DDR4_2400
    t_rtp_ns=7.5,  # [g]
    t_wtp_ns=28.3,  # CWL 12 (assumed) + BL 4 + tWR 18 cycles of 0.833 ns [3]
    t_rrd_s_ns=4 / 1.2,  # [3] four cycles
    t_rrd_l_ns=4.9,  # [g]
    t_faw_ns=21.0,  # [g], [3]
    t_ccd_s_ns=64 / 19.2,  # BL8 of 64 bits at 2400 Mb/s
    t_ccd_l_ns=5.0,  # [3] six cycles
    t_rtw_ns=8.3,  # CL 16 + BL 4 + 2 - CWL 12 cycles
    t_wtr_ns=20.8,  # CWL 12 + BL 4 + tWTR_L 9 cycles [3]
    t_refi_ns=7800.0,  # [g], [3]
    t_rfc_ns=350.0,  # [g], [3] 8 Gb
    atom_bytes=64,  # BL8
    address_map="16R-1G-2B-7C-1G",  # assumed: as for HBM2
)
