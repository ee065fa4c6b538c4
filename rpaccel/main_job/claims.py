"""RecPipe's claims C1 to C34 beside what our code finds: docs/generated/claims.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "CHEAP", "NEAR", "Claim", "Status", "claims_text", "compare", "out_of_reach", "run_claims",
]  # fmt: skip

NEAR = 0.1  # of the paper's number: reproduced
CHEAP = 20  # times as many arrivals at queues of constant times


class Status(Enum):
    """What became of a claim."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    OUT_OF_REACH = "out of reach"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim. ours : as printed. distance : from the paper's number. why : of the distance."""

    number: int
    text: str
    paper: str
    ours: str
    status: Status
    distance: str = "-"
    why: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 34:
            raise ValueError(f"number must be in 1..34, not {self.number}")
        if self.status is not Status.REPRODUCED and not self.why:
            raise ValueError(f"why must say why C{self.number} {self.status.value}")


def compare(
    number: int,
    text: str,
    pairs: Sequence[tuple[str, float, float]],
    *,
    unit: str = "",
    why: str = "",
) -> Claim:
    """Return a claim with numbers. pairs : (name, the paper's, ours), names may be empty.

    Reproduced if every number of ours is within NEAR of the paper's. Raises ValueError without
    numbers, or for one of the paper's that is 0.
    """
    if not pairs or any(paper == 0 for _, paper, _ in pairs):
        raise ValueError(f"pairs of C{number} must have numbers of the paper, none of them 0")
    off = [ours / paper - 1 for _, paper, ours in pairs]

    def shown(values: Iterable[tuple[str, float]]) -> str:
        return ", ".join(f"{name} {value:.3g}{unit}".strip() for name, value in values)

    return Claim(
        number=number,
        text=text,
        paper=shown((name, paper) for name, paper, _ in pairs),
        ours=shown((name, ours) for name, _, ours in pairs),
        status=Status.REPRODUCED if max(map(abs, off)) <= NEAR else Status.DIFFERS,
        distance=", ".join(f"{100 * each:+.1f} %" for each in off),
        why=why,
    )


def out_of_reach(number: int, text: str, paper: str, why: str) -> Claim:
    """Return a claim that nothing of ours can reach."""
    return Claim(
        number=number, text=text, paper=paper, ours="-", status=Status.OUT_OF_REACH, why=why
    )


def run_claims(
    groups: Sequence[Callable[[], Sequence[Claim]]], progress: Callable[[str], None] = print
) -> list[Claim]:
    """Return all claims in order. Raises ValueError if one is missing or there twice."""
    found: list[Claim] = []
    for group in groups:
        progress(f"{group.__name__.replace('_', ' ')} ...")
        found += group()
    numbers = sorted(claim.number for claim in found)
    if numbers != list(range(1, 35)):
        raise ValueError(f"claims must be C1 to C34, once each, not {numbers}")
    return sorted(found, key=lambda claim: claim.number)


def claims_text(claims: Sequence[Claim], arrivals: int, seed: int) -> str:
    """Return docs/generated/claims.md."""
    count = Counter(claim.status for claim in claims)
    lines = [
        ["claim", "what", "paper", "ours", "status", "distance", "why"],
        ["---"] * 7,
        *(
            [f"C{c.number}", c.text, c.paper, c.ours, c.status.value, c.distance, c.why or "-"]
            for c in claims
        ),
    ]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)  # cells are too long to align
    return f"""# RecPipe's claims

Written by `rpaccel claims` (`make claims`), {arrivals} arrivals of each load, seed {seed}. Ours is
computed by that command from our models, of C7 to C12 from the paper's service times in our queues
({CHEAP * arrivals} arrivals);
nothing is fitted to the paper's numbers but the contention of C7 to C9 and the bytes that C31's
drive reads for a row. Reproduced: all numbers of a claim within {100 * NEAR:.0f} % of the paper's,
or what it says holds; differs: by how much, and
why; out of reach: what is missing. {count[Status.REPRODUCED]} reproduced, {count[Status.DIFFERS]}
differ, {count[Status.OUT_OF_REACH]} out of reach.

{table}"""
