"""Verbs of FPGAs: cost of units, place and route on an ECP5, UltraScale+; a page of each."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from rpaccel.console import Json, Preset, print_json, show_page

__all__ = ["VERBS"]

# Imports inside the verbs: they are slow, and one verb needs few of them.

_say = functools.partial(print, file=sys.stderr, flush=True)


def fpga(
    preset: Preset = "tiny",
    unit: Annotated[str, typer.Option(help="core, array, top, or a unit of `units`.")] = "core",
    target_mhz: Annotated[float, typer.Option(help="Clock to aim at [MHz].")] = 120.0,
    seed: Annotated[int, typer.Option(help="Seed of the placer.", min=1)] = 1,
    json: Json = False,
) -> None:
    """Synthesise, place and route one unit for an ECP5-85k with open tools; print its Fmax."""
    from rpaccel.host.fpga import fpga_report, fpga_text  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    report = fpga_report(
        load_accelerator(preset), unit, target_mhz=target_mhz, seed=seed, progress=_say
    )
    print_json(report) if json else print(fpga_text(report))


def fpga_page(
    units: Annotated[
        str, typer.Option(help="As `fpga --preset` and `--unit`: preset.unit, ...")
    ] = "tiny.cells,tiny.array,tiny.core,ecp5.top",
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/fpga.md"
    ),
    json: Json = False,
) -> None:
    """Place and route units of presets, each alone; write Fmax and cells beside the goals."""
    from rpaccel.host.fpga import fpga_report  # noqa: PLC0415
    from rpaccel.main_job.fpga_page import routed_text  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    asked = [unit.rpartition(".") for unit in units.split(",")]
    reports = [
        fpga_report(load_accelerator(preset), unit, progress=_say) for preset, _, unit in asked
    ]
    show_page(out, routed_text(reports), reports if json else None)


def synth(
    preset: Preset = "edge",
    family: Annotated[str, typer.Option(help="xcup: UltraScale+.")] = "xcup",
    dsp_packing: Annotated[
        bool, typer.Option("--dsp-packing", help="Two MACs of the array per DSP: macs_per_dsp 2.")
    ] = False,
    json: Json = False,
) -> None:
    """Estimate a preset on UltraScale+, module by module, and name the smallest part that fits."""
    from rpaccel.host.part_choice import estimate, estimate_text  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    config = load_accelerator(preset)
    if dsp_packing:
        config = config.model_copy(update={"macs_per_dsp": 2})
    report = estimate(config, family, progress=_say)
    print_json(report) if json else print(estimate_text(report))


def synth_page(
    presets: Annotated[str, typer.Option(help="Presets.")] = "tiny,edge,default,paper",
    out: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path(
        "docs/generated/synth.md"
    ),
    json: Json = False,
) -> None:
    """Estimate presets on UltraScale+, with one and with two of the array's MACs per DSP."""
    from rpaccel.host.part_choice import estimate  # noqa: PLC0415
    from rpaccel.main_job.synth_page import estimates_text  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    configs = [load_accelerator(preset) for preset in presets.split(",")]
    reports = [
        estimate(config.model_copy(update={"macs_per_dsp": macs}), progress=_say)
        for config in configs
        for macs in (1, 2)
    ]
    show_page(out, estimates_text(reports), reports if json else None)


def units(
    preset: Preset = "edge",
    family: Annotated[str, typer.Option(help="ecp5 or xcup.")] = "ecp5",
    inside: Annotated[
        str | None, typer.Option(help="Instead: the modules of this unit, each apart.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, too.", dir_okay=False)] = None,
    json: Json = False,
) -> None:
    """Synthesise every unit of a preset on its own and print what it costs."""
    from rpaccel.host.unit_costs import module_costs, unit_costs  # noqa: PLC0415
    from rpaccel.main_job.units_page import modules_text, units_text  # noqa: PLC0415
    from rpaccel.spec.accelerator import load_accelerator  # noqa: PLC0415

    config = load_accelerator(preset)
    if inside is None:
        costs = unit_costs(config, family, progress=_say)
        text = units_text(costs, preset, family)
    else:
        costs = module_costs(config, inside, family, progress=_say)
        text = modules_text(costs, inside, preset, family, config.array_macs)
    show_page(out, text, costs if json else None)


VERBS = (units, fpga, fpga_page, synth, synth_page)
