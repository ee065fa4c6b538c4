"""Beyond the paper's figure: a node that follows drift, two models on one node, a power cap."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rpaccel.scheduler.arrivals import poisson_arrivals_s
from rpaccel.scheduler.colocation import Colocation, Tenant, apart, by_deadline, in_order
from rpaccel.scheduler.deeprec_study import Ask, Case
from rpaccel.scheduler.deeprecsched import Space, joint
from rpaccel.scheduler.node_power import NodePower, capped_qps, power_w
from rpaccel.scheduler.peak import Sla
from rpaccel.scheduler.policy import NOT_OFFLOADED, Node, Policy
from rpaccel.scheduler.query_plant import QueryPlant, node_of
from rpaccel.scheduler.retuning import Guards, Window, retune
from rpaccel.scheduler.service_profile import ServiceProfile
from rpaccel.scheduler.sizes import lognormal
from rpaccel.spec.deeprec import load_deeprec

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


def _sla(ask: Ask, model: str, level: str) -> Sla:
    limit_ms = getattr(load_deeprec(model).sla, f"{level}_ms")
    return Sla(limit_s=limit_ms * 1e-3, most=ask.queries, first=min(2048, ask.queries))


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
    light = QueryPlant(
        node=node_of(cpu, accelerator, cores=ask.cores),
        sizes=lognormal(5.1, 0.2),
        sla=_sla(ask, DRIFT_MODEL, "medium"),
        seed=ask.seed,
    )
    heavy = light.with_sizes(ask.sizes)
    first, later = joint(light, DRIFT_SPACE), joint(heavy, DRIFT_SPACE)
    count = WINDOWS * guards.window
    load = LOAD * later.qps
    arrivals = poisson_arrivals_s(count, load, ask.seed + 1)
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


def shared(ask: Ask, batches: dict[str, int]) -> list[Shared]:
    """Return pairs of models at their medium targets. batches : of each model's requests."""
    found = []
    for first, second, share in PAIRS:
        models = (first, second)
        tables = [_profile(ask, model)[0].table_s(1024) for model in models]
        tenants = tuple(
            Tenant(
                share=part,
                sla=_sla(ask, model, "medium"),
                policy=Policy(batch=batches[model], even=True, table=place),
            )
            for place, (model, part) in enumerate(zip(models, (share, 1 - share), strict=True))
        )
        node = Node(cores=ask.cores, cpu_s=np.stack(tables))
        both = Colocation(node=node, tenants=tenants, sizes=ask.sizes, seed=ask.seed)
        found.append(
            Shared(
                models=models,
                share=share,
                divided_qps=apart(both),
                in_order_qps=in_order(both).peak().qps,
                by_deadline_qps=by_deadline(both).peak().qps,
            )
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Capped:
    """A model's best queries per joule within a cap: on cores alone, and with an accelerator."""

    model: str
    qps: tuple[float, float]
    per_joule: tuple[float, float]  # 0 if the idle node is above the cap


def capped(ask: Ask, cases: list[Case], cap_w: float) -> list[Capped]:
    """Return, at the medium target, what the settings of `ours` hold within `cap_w`."""
    found = []
    for case in cases:
        if case.level != "medium":
            continue
        cpu, accelerator = _profile(ask, case.model)
        plant = QueryPlant(
            node=node_of(cpu, cores=ask.cores), sizes=ask.sizes,
            sla=_sla(ask, case.model, "medium"), seed=ask.seed,
        )  # fmt: skip
        both = replace(plant, node=node_of(cpu, accelerator, cores=ask.cores))
        loads, joules = [], []
        for where, scheme in ((plant, "ours"), (both, "ours+")):
            outcome = case.outcomes[scheme]
            load = capped_qps(where, outcome.policy, outcome.qps, NodePower(), cap_w)
            loads.append(load)
            joules.append(load / power_w(where, outcome.policy, load, NodePower()) if load else 0.0)
        found.append(
            Capped(model=case.model, qps=(loads[0], loads[1]), per_joule=(joules[0], joules[1]))
        )
    return found
