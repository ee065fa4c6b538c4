"""The board's part of the retrieval page: published bands, designs, budgets, the goal."""

from __future__ import annotations

from math import ceil

from rpaccel.main_job.markdown import markdown_table
from rpaccel.main_job.retrieval_costs import COST_PORTS
from rpaccel.main_job.retrieval_study import CHANNELS, CLOCK_HZ, PART, PRODUCTS, RetrievalStudy
from rpaccel.perfmodel.retrieval_board import (
    CORPUS_BANDS,
    K_BANDS,
    ROW_BYTES,
    SNARY,
    Bands,
    ScanDesign,
    SnaryPoint,
    queries_per_s,
    rows_within,
)
from rpaccel.perfmodel.retrieval_budget import Budget, budget_of, largest_batch
from rpaccel.perfmodel.retrieval_latency import MemoryPath
from rpaccel.spec.retrieval import QUERIES_LIMIT

__all__ = ["CLOCKS_HZ", "GOAL", "PAPER_QUERIES", "board_sections", "design_of", "goal_batch"]

GOAL = 3.0  # times SNARY's rate
LIMIT_S = 10e-3
ROUTABLE = 0.6  # share of a part that FANNS plans with
PAPER_QUERIES = 4  # of a scan: spec/presets/paper.yaml
CLOCKS_HZ = (150e6, 175e6, 200e6, 225e6, 250e6, 300e6)
CORPORA = (1e6, 3e6, 6e6, 9e6)
ITEMS_PER_CYCLE = 4  # of SNARY, and of FAERY on its board if it has as many


def design_of(
    study: RetrievalStudy, channels: int, beat: int, queries: int, clock_hz: float = CLOCK_HZ
) -> ScanDesign:
    """Return a design; all of C but the answer lies between two scans."""
    constant = study.constants[channels, beat]
    return ScanDesign(
        path=MemoryPath(ports=channels, beat_bytes=beat, clock_hz=clock_hz),
        queries=queries,
        overhead_cycles=constant.total - constant.answer,
    )


def snary_at(k: int) -> SnaryPoint:
    """Return SNARY's build for `k`."""
    return next(point for point in SNARY if point.k == k)


def goal_batch(study: RetrievalStudy, channels: int, beat: int, clock_hz: float) -> int:
    """Return the fewest queries of a scan that reach GOAL times SNARY's rate at K = 1024."""
    target = GOAL * snary_at(study.k).queries_per_s(study.rows)
    return ceil(target * design_of(study, channels, beat, 1, clock_hz).scan_s(study.rows))


def board_sections(study: RetrievalStudy) -> tuple[str, list[str]]:
    """Return the sections as Markdown, and one line per goal."""
    sections = [_published(study), _designs(study), _budget(study), _clocks(study), _corpora(study)]
    return "\n".join(sections), [_goal(study)]


def _published(study: RetrievalStudy) -> str:
    rows = []
    cases: list[tuple[int, float, dict[str, Bands]]] = [
        *((1024, corpus, CORPUS_BANDS) for corpus in CORPORA),
        *((point.k, 1e6, K_BANDS) for point in SNARY),
    ]
    for k, corpus, bands in cases:
        point = snary_at(k)
        latency, rate = point.latency_s(corpus), point.queries_per_s(corpus)
        cells = [f"{corpus / 1e6:.0f}", str(k), f"{1e3 * latency:.2f}", f"{rate:,.0f}"]
        for other in bands.values():
            between = other.latency_s(latency)
            rates = other.queries_per_s(rate)
            cells += [
                f"{1e3 * between.low:.2f} .. {1e3 * between.high:.2f}",
                f"{rates.low:,.0f} .. {rates.high:,.0f}",
            ]
        rows.append(cells)
    head = ["rows [million]", "K", "SNARY L [ms]", "queries/s", "FAERY L [ms]", "queries/s",
            "Faiss, 4 x A100 L [ms]", "queries/s"]  # fmt: skip
    point = snary_at(1024)
    faery = CORPUS_BANDS["FAERY"]
    between = faery.latency_s(point.latency_s(1e6))
    clocks = [1e6 / ITEMS_PER_CYCLE / latency / 1e6 for latency in (between.high, between.low)]
    rates = faery.queries_per_s(point.queries_per_s(1e6))
    batch = (rates.low * between.low, rates.high * between.high)
    return (
        "## SNARY, and FAERY on its board\n\n"
        "Alveo U50, 16 pseudo-channels for the corpus. SNARY: M / B at its clocks and queries per "
        "scan (table 1); FAERY and Faiss: bands by the published ratios (figure 9, corpus sweep at "
        "K = 1024, then K sweep). FAERY's band at K = 1024 means "
        f"{clocks[0]:.0f} to {clocks[1]:.0f} MHz at {ITEMS_PER_CYCLE} rows per cycle and "
        f"{batch[0]:.1f} to {batch[1]:.1f} queries per scan.\n\n" + markdown_table(head, rows)
    )


def _designs(study: RetrievalStudy) -> str:
    snary = snary_at(study.k).queries_per_s(study.rows)
    rows = []
    for channels in CHANNELS:
        for beat in (32, 64):
            design = design_of(study, channels, beat, PAPER_QUERIES)
            constant = study.constants[channels, beat].total
            cells = [
                f"{channels} x {beat} B",
                f"{design.path.bytes_per_s / 1e9:.1f}",
                f"{1e3 * (design.scan_s(study.rows) + constant / CLOCK_HZ):.3f}",
                f"{rows_within(design, constant, LIMIT_S) / 1e6:.1f}",
            ]
            rate = queries_per_s(design, study.rows, constant, LIMIT_S, waits=True)
            cells.append(f"{rate:,.0f} ({rate / snary:.2f}x)")
            for products in PRODUCTS:
                costs = study.costs[channels, beat, products]
                for share in (ROUTABLE, 1.0):
                    batch = largest_batch(
                        design.path, costs, PART, share=share, limit=QUERIES_LIMIT
                    )
                    rate = 0.0
                    if batch:
                        chosen = design_of(study, channels, beat, batch)
                        rate = queries_per_s(chosen, study.rows, constant, LIMIT_S, waits=True)
                    cells.append(f"{batch}: {rate:,.0f} ({rate / snary:.2f}x)")
            rows.append(cells)
    routable = f"{100 * ROUTABLE:.0f} %"
    head = ["ports", "GB/s", "L [ms]", "rows in 10 ms [million]", f"{PAPER_QUERIES} queries",
            f"{routable}, 1 product per DSP", "100 %", f"{routable}, 2 products",
            "100 %"]  # fmt: skip
    return (
        "## Ours on the same board\n\n"
        f"K = {study.k}, {study.rows:,} rows of {ROW_BYTES} bytes, {CLOCK_HZ / 1e6:.0f} MHz. "
        "Queries per scan: queries/s (times SNARY's at the same K and corpus), 0 if a query that "
        "just missed a scan takes above 10 ms (2 scans and C). "
        f"{PAPER_QUERIES} queries are those of the preset `paper`. A configuration's ports are a "
        "power of two of at most 16: 28 channels are the model's alone. The others: the most "
        f"queries, of the {QUERIES_LIMIT} that a configuration may have, that fit {routable} "
        "(what FANNS plans with) or all of a VU35P. Products per DSP: "
        "`retrieval_products_per_dsp`; with 2 two queries share a multiplier for a row's byte, for "
        "every metric (`rtl/retrieval_score.py`). "
        "The rate is bounded by multipliers: queries/s <= products per cycle x clock / M, whatever "
        "the channels; more channels make a scan shorter.\n\n" + markdown_table(head, rows)
    )


def _budget(study: RetrievalStudy) -> str:
    sums, texts = [], []
    for channels in CHANNELS:
        design = design_of(study, channels, 32, goal_batch(study, channels, 32, CLOCK_HZ))
        name = f"{channels} x 32 B, {design.queries} queries"
        for products in PRODUCTS:
            budget = budget_of(design, study.costs[channels, 32, products])
            shares = budget.shares(PART)
            cells = [
                f"{value:,} ({100 * share:.1f} %)"
                for (_, value), share in zip(budget.total.items(), shares.values(), strict=True)
            ]
            sums.append([f"{name}, {products}", *cells, _fit(max(shares.values()))])
            texts.append(f"\n{name}, {products} per DSP:\n\n" + _units(budget))
    head = ["ports, queries, products per DSP", "LUT", "FF", "DSP", "BRAM36", ""]
    return (
        f"## Budgets for {GOAL:.0f} times SNARY's rate\n\n"
        f"VU35P: {PART.lut:,} LUT, {PART.ff:,} FF, {PART.dsp:,} DSP, {PART.bram36:,} BRAM36. By "
        "Yosys, module by module, from netlists of a whole engine on AXI ports "
        f"(`rtl/retrieval_system.py`) of {COST_PORTS} ports and 1 to 3 queries: two more queries "
        "(one more, with 1 product per DSP) need what they needed there. Other than "
        f"{COST_PORTS} ports: in proportion, the crossbar by the square; *ScoreFilter*: a netlist "
        "of its own, whole, a lane per port, rounded up to a power of two. *engine*: all in it "
        "that is not in a row of its own. Clock crossing is assumed; no shell (PCIe, HBM's "
        "controllers) is in the sums.\n\n" + markdown_table(head, sums) + "".join(texts)
    )


def _units(budget: Budget) -> str:
    """Return a budget by unit, the largest first."""
    rows = [
        [f"{copies} x {name}",
         *(f"{copies} x {value:,} = {copies * value:,}" for _, value in each.items())]
        for name, (copies, each) in sorted(
            budget.parts.items(), key=lambda item: -item[1][0] * item[1][1].lut
        )
    ]  # fmt: skip
    return markdown_table(["unit", "LUT", "FF", "DSP", "BRAM36"], rows)


def _fit(share: float) -> str:
    if share <= ROUTABLE:
        return f"within {100 * ROUTABLE:.0f} %"
    return f"above {100 * ROUTABLE:.0f} % of the part" if share <= 1 else "does not fit"


def _clocks(study: RetrievalStudy) -> str:
    rows = []
    snary = snary_at(study.k).queries_per_s(study.rows)
    for clock in CLOCKS_HZ:
        cells = [f"{clock / 1e6:.0f}"]
        for channels in CHANNELS:
            needed = goal_batch(study, channels, 32, clock)
            path = design_of(study, channels, 32, 1, clock).path
            for products in PRODUCTS:
                costs = study.costs[channels, 32, products]
                most = largest_batch(path, costs, PART, share=1.0, limit=QUERIES_LIMIT)
                rate = most / design_of(study, channels, 32, 1, clock).scan_s(study.rows)
                cells.append(f"{most}: {rate / snary:.2f}x")
            cells.insert(-2, str(needed))
        rows.append(cells)
    head = ["clock [MHz]"]
    for channels in CHANNELS:
        head += [f"{channels} ch.: queries for {GOAL:.0f}x", "fit, 1 product", "fit, 2 products"]
    return (
        "## How much hangs on the clock\n\n"
        "Ports of 32 bytes; queries per scan that the goal needs, and the most that fit all of the "
        "part, with their rate in times of SNARY's.\n\n" + markdown_table(head, rows)
    )


def _corpora(study: RetrievalStudy) -> str:
    rows = []
    queries = goal_batch(study, 16, 32, CLOCK_HZ)
    constant = study.constants[16, 32].total
    for corpus in CORPORA:
        point = snary_at(study.k)
        design = design_of(study, 16, 32, queries)
        alone, waiting = (
            queries_per_s(design, corpus, constant, LIMIT_S, waits=waits) for waits in (False, True)
        )
        latency = design.scan_s(corpus) + constant / CLOCK_HZ
        rows.append(
            [f"{corpus / 1e6:.0f}", f"{1e3 * latency:.2f}", f"{alone:,.0f}", f"{waiting:,.0f}",
             f"{1e3 * point.latency_s(corpus):.2f}", f"{point.queries_per_s(corpus):,.0f}"]
        )  # fmt: skip
    head = ["rows [million]", "L [ms]", "queries/s", "with a wait", "SNARY L [ms]", "queries/s"]
    return (
        "## By corpus\n\n"
        f"16 x 32 B, {queries} queries per scan, K = {study.k}, limit 10 ms; 0: not within it. "
        "Alone: a query comes as a scan begins, as in SNARY's column; with a wait: it just missed "
        "one.\n\n" + markdown_table(head, rows)
    )


def _goal(study: RetrievalStudy) -> str:
    needed = goal_batch(study, 16, 32, CLOCK_HZ)
    design = design_of(study, 16, 32, needed)
    ratio = needed / design.scan_s(study.rows) / snary_at(study.k).queries_per_s(study.rows)
    today = PAPER_QUERIES / needed * ratio
    verdicts, fits = [], []
    for products in PRODUCTS:
        shares = budget_of(design, study.costs[16, 32, products]).shares(PART)
        name, most = max(shares.items(), key=lambda item: item[1])
        verdicts.append(f"{products} per DSP: {_fit(most)} ({name} {100 * most:.1f} %)")
        fits.append(most <= ROUTABLE)
    verdict = "reached" if fits[-1] else "missed"
    return (
        f"At least {GOAL:.0f} times SNARY's rate under 10 ms, K = {study.k}, 16 channels, "
        f"{CLOCK_HZ / 1e6:.0f} MHz, within {100 * ROUTABLE:.0f} % of a VU35P: {ratio:.2f} times "
        f"with {needed} queries per scan ({verdict}, by synthesis; nothing is placed, the clock is "
        f"assumed). Products {'; '.join(verdicts)}. With the {PAPER_QUERIES} queries of the preset "
        f"`paper`: {today:.2f} times."
    )
