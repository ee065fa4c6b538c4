"""A small sweep's explorer page, and what a reader should see on it, reckoned in Python."""

from rpaccel.spec.sweep import SweepSpec

SPEC = SweepSpec.model_validate(
    {
        "name": "small",
        "axes": {
            "array_size": [32, 64],
            "split": ["1*4x4", "4*2x2", "8*1x1+2*2x2"],
            "front_sub_batch": [32, 64],
            "back_sub_batch": [64],
            "front_task_items": [0, 256],
            "back_task_items": [0, 64],
            "k": [256, 512],
            "memory_ports": [1, 4],
            "beat_bytes": [32],
        },
    }
)
CANDIDATES = (1024, 4096)
MORE = ("ndcg", "qps")


def points_of(data):
    """Return the page's points as dicts."""
    return [dict(zip(data["fields"], point, strict=True)) for point in data["points"]]


def value(point, name, load):
    if name == "power_w":
        return 1e-6 * point["query_uj"] * load + point["clock_w"]
    return point[name]


def within(points, bounds):
    """Return the places of the points that meet `bounds`: figure -> bound."""
    load = bounds.get("qps", 0.0)

    def meets(point, name, bound):
        found = value(point, name, load)
        return found >= bound if name in MORE else found <= bound

    return [
        place
        for place, point in enumerate(points)
        if all(meets(point, name, bound) for name, bound in bounds.items())
    ]


def best(points, bounds, objective):
    """Return the place of the best point within `bounds`, None if there is none."""
    load = bounds.get("qps", 0.0)

    def key(place):
        names = (objective, "latency_ms", "query_uj", "area_mm2")
        return [
            -value(points[place], n, load) if n in MORE else value(points[place], n, load)
            for n in names
        ] + [place]

    return min(within(points, bounds), key=key, default=None)
