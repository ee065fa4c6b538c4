"""What a pipeline runs on: accelerator clock and memory timing, and the link to the host.

Seconds exist only here and in the scheduler; hardware counts cycles.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rpaccel.spec.preset_file import names_in, read_preset

PLATFORMS_DIR = Path(__file__).parent / "presets" / "platforms"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MemoryTiming(_Frozen):
    """Memory behind one AXI read port, as the timing model of the simulator has it."""

    latency_cycles: int = Field(ge=1, le=10_000)  # request accepted to first beat
    source: str = Field(min_length=1)  # where the numbers come from, or "assumed"


class AcceleratorPlatform(_Frozen):
    """One accelerator card: `lanes` of its configuration serve one query each."""

    preset: str  # accelerator preset in spec/presets/
    clock_hz: float = Field(gt=0)  # [Hz]
    clock_source: str = Field(min_length=1)
    memory: MemoryTiming

    def seconds(self, cycles: float) -> float:
        """Return the time of `cycles` [s]."""
        return cycles / self.clock_hz


class LinkPlatform(_Frozen):
    """Transfers between host and accelerator: a fixed cost and a cost per byte, each way."""

    fixed_s: float = Field(ge=0)  # [s]
    bytes_per_s: float = Field(gt=0)  # [B/s]
    source: str = Field(min_length=1)

    def seconds(self, payload_bytes: int) -> float:
        """Return the time to move `payload_bytes` one way [s]."""
        return self.fixed_s + payload_bytes / self.bytes_per_s


class PlatformConfig(_Frozen):
    """The card a scheduler may place stages on, and the way to it."""

    name: str
    accelerator: AcceleratorPlatform
    link: LinkPlatform


def platform_names() -> list[str]:
    """Names of the platform presets, sorted."""
    return names_in(PLATFORMS_DIR)


def load_platform(source: str | Path) -> PlatformConfig:
    """Read a platform preset by name, or a YAML file by path.

    Raises ValueError that names the preset, or every wrong key with its path.
    """
    return PlatformConfig.model_validate(read_preset(source, PLATFORMS_DIR, "platform"))
