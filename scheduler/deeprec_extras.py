"""Beyond the paper's figure: a node that follows drift, two models on one node, a power cap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rpaccel.scheduler.colocation import Colocation, Tenant, apart, by_deadline, in_order, tuned
from rpaccel.scheduler.deeprec_study import WINDOW, Ask, Case
from rpaccel.scheduler.deeprecsched import Space, joint, joint_space
from rpaccel.scheduler.node_power import CappedPlant, NodePower, capped_qps, power_w
from rpaccel.scheduler.policy import NOT_OFFLOADED, Node, Policy
from rpaccel.scheduler.query_plant import node_of
from rpaccel.scheduler.retuning import Guards, Window, retune
from rpaccel.scheduler.service_profile import ServiceProfile
from rpaccel.scheduler.sizes import lognormal

__all__ = ["Capped", "Drift", "Shared", "capped", "drift", "shared"]

PAIRS = (("wnd", "dlrm-rmc2", 0.8), ("ncf", "mt-wnd", 0.7), ("ncf", "dlrm-rmc1", 0.5))
DRIFT_MODEL = "mt-wnd"
DRIFT_SPACE = Space(
    batch=(16, 32, 64, 100, 160, 256, 400, 640, 1000),
    threshold=(1, *range(100, 1000, 100), NOT_OFFLOADED),
    even=(True,),
    merge_items=(0, 4000),
)
WINDOWS = 16  # of a drifting stream; sizes change after a quarter
LOAD = 0.95  # of what the setting tuned for the later sizes holds


def _profile(ask: Ask, model: str) -> tuple[ServiceProfile, ServiceProfile]:
    return next(pair for pair in ask.profiles if pair[0].model == model)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A stream whose sizes change: windows under the first setting, and under a controller."""

    model: str
    light_qps: float  # what the first setting holds of the sizes it was tuned for
    kept_qps: float  # what it holds of the later ones
    tuned_qps: float  # what a setting tuned for those holds
    load_qps: float
    fixed: list[Window]
    followed: list[Window]


def drift(ask: Ask, guards: Guards | None = None) -> Drift:
    """Tune on a lognormal, then serve it for a quarter of the stream and the asked sizes after."""
    guards = guards or Guards()
    cpu, accelerator = _profile(ask, DRIFT_MODEL)
    heavy = ask.plant(cpu, accelerator, "medium")
    light = heavy.with_sizes(lognormal(5.1, 0.2))
    first, later = joint(light, DRIFT_SPACE), joint(heavy, DRIFT_SPACE)
    count = WINDOWS * guards.window
    load = LOAD * later.qps
    arrivals = ask.process.draw(count, load, ask.seed + 1)
    sizes = np.concatenate([
        light.sizes.draw(count // 4, ask.seed + 1),
        ask.sizes.draw(count - count // 4, ask.seed + 2),
    ])  # fmt: skip
    return Drift(
        model=DRIFT_MODEL,
        light_qps=first.qps,
        kept_qps=heavy.peak(first.policy).qps,
        tuned_qps=later.qps,
        load_qps=load,
        fixed=retune(light, first.policy, arrivals, sizes, None, guards),
        followed=retune(
            light, first.policy, arrivals, sizes, lambda p: joint(p, DRIFT_SPACE).policy, guards
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Two models on one node: the load of both together that meets both targets [queries/s]."""

    models: tuple[str, str]
    share: float  # of the first model's queries
    divided_qps: float  # each on cores of its own
    in_order_qps: float
    by_deadline_qps: float
    tuned_qps: float  # with batches for each other
    batches: tuple[int, int]  # of those


def shared(ask: Ask, batches: dict[str, int]) -> list[Shared]:
    """Return pairs of models at their medium targets. batches : of each model's requests."""
    found = []
    for first, second, share in PAIRS:
        models = (first, second)
        tables = [_profile(ask, model)[0].table_s(1024) for model in models]
        tenants = tuple(
            Tenant(
                share=part,
                sla=ask.sla(model, "medium"),
                policy=Policy(batch=batches[model], even=True, table=place),
            )
            for place, (model, part) in enumerate(zip(models, (share, 1 - share), strict=True))
        )
        node = Node(cores=ask.cores, cpu_s=np.stack(tables))
        both = Colocation(
            node=node, tenants=tenants, sizes=ask.sizes, seed=ask.seed, process=ask.process
        )
        best = tuned(by_deadline(both))
        first_batch, second_batch = (tenant.policy.batch for tenant in best.tenants)
        found.append(
            Shared(
                models=models,
                share=share,
                divided_qps=apart(both),
                in_order_qps=in_order(both).peak().qps,
                by_deadline_qps=by_deadline(both).peak().qps,
                tuned_qps=best.peak().qps,
                batches=(first_batch, second_batch),
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Capped:
    """What a model holds within a cap [queries/s], and queries per joule at it.

    Of each: the setting of cores alone that holds most without a cap, that of cores and
    accelerator, and one that is searched within the cap (`policy`, with the accelerator). 0 if the
    idle node is above the cap.
    """

    model: str
    qps: tuple[float, float, float]
    per_joule: tuple[float, float, float]
    policy: Policy


def capped(ask: Ask, cases: list[Case], cap_w: float) -> list[Capped]:
    """Return, at the medium target, what settings of `ours` and of a search hold in `cap_w`."""
    power, found = NodePower(), []
    for case in cases:
        if case.level != "medium":
            continue
        cpu, accelerator = _profile(ask, case.model)
        alone = ask.plant(cpu, None, "medium")
        both = CappedPlant(
            node=node_of(cpu, accelerator, cores=ask.cores), sizes=ask.sizes, sla=alone.sla,
            seed=ask.seed, process=ask.process, power=power, cap_w=cap_w,
        )  # fmt: skip
        searched = joint(both, joint_space(WINDOW * both.sla.limit_s))
        held = [
            (where, policy, capped_qps(where, policy, qps, power, cap_w))
            for where, policy, qps in (
                (alone, case.outcomes["ours"].policy, case.outcomes["ours"].qps),
                (both, case.outcomes["ours+"].policy, case.outcomes["ours+"].qps),
                (both, searched.policy, searched.qps),
            )
        ]
        joules = [qps / power_w(where, policy, qps, power) for where, policy, qps in held]
        found.append(
            Capped(
                model=case.model,
                qps=(held[0][2], held[1][2], held[2][2]),
                per_joule=(joules[0], joules[1], joules[2]),
                policy=searched.policy,
            )
        )
    return found
