"""The retrieval page's section about a GPU: product and top-k beside our engine in the model."""

from __future__ import annotations

from rpaccel.host.scan_profile import ScanProfile
from rpaccel.main_job.markdown import markdown_table
from rpaccel.perfmodel.retrieval_latency import scan_latency_s

__all__ = ["GPU_PROFILE", "PUBLISHED_GAIN", "gpu_section"]

GPU_PROFILE = "build/scan_gpu.json"  # what the page reads by default
PUBLISHED_GAIN = "1.21 to 12.27 times lower latency and up to 4.29 times the rate under 10 ms"
LIMIT_S = 10e-3

_HEAD = "## Beside a GPU\n\n"
_PUBLISHED = (
    f"Published for FAERY throttled to the bandwidth of a GPU, against that GPU: {PUBLISHED_GAIN}."
)


def gpu_section(
    profile: ScanProfile | None, constant_cycles: float, clock_hz: float, batches: tuple[int, ...]
) -> str:
    """Return the section; None: a GPU was not measured.

    constant_cycles : C of ours. batches : of ours, queries that share a scan.
    """
    if profile is None:
        return (
            f"{_HEAD}Not measured: `rpaccel profile scan --device gpu`, on a machine with a GPU, "
            f"writes the file ({GPU_PROFILE}) that this section is made of. {_PUBLISHED}\n"
        )
    rate = profile.timings[0].memory_bytes_per_s
    ours = scan_latency_s(profile.rows * profile.row_bytes, rate, constant_cycles, clock_hz)
    rows = [
        [t.precision, str(t.queries), f"{1e3 * t.call_s:.3f}", f"{1e3 * t.product_s:.3f}",
         f"{100 * t.selection_share:.0f}", f"{t.queries / t.call_s:,.0f}",
         f"{t.call_s / ours:.2f}"]
        for t in profile.timings
    ]  # fmt: skip
    head = ["precision", "queries", "call [ms]", "of it the product [ms]", "rest [%]", "queries/s",
            "call / ours"]  # fmt: skip
    alone = min(t.call_s for t in profile.timings if t.queries == 1)
    in_time = [t.queries / t.call_s for t in profile.timings if t.call_s <= LIMIT_S]
    best = max(in_time, default=0.0)
    limit = f"{1e3 * LIMIT_S:.0f} ms"
    if ours > LIMIT_S:
        rates = f"Ours takes more than {limit}."
    elif not best:
        rates = f"No call of the GPU stays within {limit}."
    else:
        rates = f"Rate within {limit}, the GPU's best {best:,.0f}/s: ours " + "; ".join(
            f"{n} in a scan {n / ours:,.0f}/s, {n / ours / best:.2f} times" for n in batches
        )
        rates += "."
    return (
        f"{_HEAD}{profile.name}, PyTorch {profile.timings[0].version}: a product with all rows, "
        "then `topk`, queries to the GPU and answers back; inner product, the same int8 corpus "
        f"({profile.rows:,} x {profile.row_bytes}, K = {profile.k}), scores equal to golden's; the "
        "least of a few calls. float32: IEEE, 4 bytes per component; int8: `torch._int_mm`, at "
        "least 32 queries, others padded. Rest: top-k and copies, as a share of the call; "
        f"published for a mature GPU code: about 80 %. Memory: a sum reads {rate / 1e9:.0f} GB/s. "
        f"Ours, throttled to that by the model: {1e3 * ours:.3f} ms for all queries of a scan.\n\n"
        + markdown_table(head, rows)
        + f"\nA single query, the GPU's least over ours: {alone / ours:.2f}. {rates} {_PUBLISHED} "
        "Clock and batch of ours are the model's, not a board's.\n"
    )
