"""The explorer's page in headless Chromium, from a file, beside what Python reckons of its data."""

import os
import random
import shutil

import pytest

from rpaccel.main_job import explorer
from rpaccel.main_job.explorer_space import find_offer
from tests.rpaccel.explorer_case import CANDIDATES, MORE, SPEC, best, points_of, value, within

REQUIRED = bool(os.environ.get("REQUIRE_BROWSER"))  # set by `make test-browser`
if REQUIRED:
    import playwright.sync_api as playwright
else:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: the extra `test` brings it"
    )
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
NO_CHROMIUM = "needs Chromium: apt-get install chromium-headless-shell"
if REQUIRED and CHROMIUM is None:
    raise RuntimeError(NO_CHROMIUM)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
FIGURES = ("latency_ms", "ndcg", "area_mm2", "qps", "power_w", "query_uj")


@pytest.fixture(scope="module")
def data():
    return explorer.page_data(find_offer(SPEC, CANDIDATES, progress=id), step=0, progress=id)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page offline; afterwards nothing may have been asked of a network, or gone wrong."""
    path = tmp_path / "report.html"
    context = browser.new_context(offline=True)
    opened, wrong, asked = context.new_page(), [], []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))

    def go(data):
        path.write_text(explorer.page_html(data))
        opened.goto(path.as_uri())
        return opened

    yield go
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


@pytest.fixture
def page(open_page, data):
    return open_page(data)


def bound(page, bounds):
    """Set limits, all others to none."""
    for name in FIGURES:
        text = repr(bounds[name]) if name in bounds else ""
        if page.input_value(f"#limit-{name}") != text:
            page.fill(f"#limit-{name}", text)


def chosen(page):
    index = page.get_attribute("#chosen", "data-index")
    return int(index) if index else None


def causes_of(page):
    """Return the limits that bind, and the nearest that would not: [name, value] of each."""
    return page.locator("#verdict li").evaluate_all(
        "all => all.map((e) => [e.dataset.name, Number(e.dataset.nearest)])"
    )


def rows_of(page, table):
    """Return a table's rows: label -> number."""
    rows = page.locator(f"#{table} tbody tr").evaluate_all(
        "rows => rows.map((row) => [row.cells[0].textContent, row.cells[1].textContent])"
    )
    return dict(rows)


def test_it_opens_with_the_published_quality(page, data):
    points = points_of(data)
    bounds = {"ndcg": 92.25, "qps": 500.0}
    assert page.input_value("#limit-ndcg") == "92.25"
    assert chosen(page) == best(points, bounds, "latency_ms")
    assert page.locator("circle.point").count() == len(points)
    assert page.text_content("#x-label") == "Latency of a query [ms]"
    assert page.text_content("#y-label") == "Quality, NDCG@64 x 100"
    assert f"{data['evaluated']:,} designs" in page.inner_text("#notes")


def test_random_limits_choose_what_python_chooses(page, data):
    points, rng = points_of(data), random.Random(1)
    met = set()
    for _ in range(15):
        objective = rng.choice(FIGURES)
        names = rng.sample(FIGURES, rng.randint(0, 4))
        load = rng.choice([0.0, 500.0, 3000.0])
        bounds = {
            name: float(f"{value(rng.choice(points), name, load):.3g}")
            for name in sorted(names, key=FIGURES.index)
        }
        bound(page, bounds)
        page.select_option("#objective", objective)
        left = within(points, bounds)
        met.add(bool(left))
        assert page.inner_text("#count").startswith(f"{len(left)} of {len(points)} points")
        inside = page.locator("circle.point:not(.out)").evaluate_all(
            "dots => dots.map((dot) => Number(dot.dataset.index))"
        )
        assert sorted(inside) == left
        assert chosen(page) == best(points, bounds, objective)
        assert page.is_visible("#chosen") == bool(left)
        assert (page.inner_text("#verdict") == "") == bool(left)
    assert met == {True, False}


def test_ties_go_to_the_faster_then_the_thriftier_then_the_first(open_page, data):
    """The first point five times, all but the last two with figures of their own."""
    places = [data["fields"].index(name) for name in ("latency_ms", "query_uj", "area_mm2")]
    figures = [(3, 1, 1), (2, 3, 1), (2, 2, 3), (2, 2, 2), (2, 2, 2)]
    points = [list(data["points"][0]) for _ in figures]
    for point, values in zip(points, figures, strict=True):
        for place, number in zip(places, values, strict=True):
            point[place] = float(number)
    page = open_page(data | {"points": points})
    bound(page, {})
    for objective in ("ndcg", "qps"):
        page.select_option("#objective", objective)
        assert chosen(page) == best(points_of(data | {"points": points}), {}, objective) == 3


def test_it_says_which_limit_binds_and_the_nearest_that_does_not(page, data):
    points = points_of(data)
    least = min(point["latency_ms"] for point in points)
    bound(page, {"latency_ms": least / 2})
    text = page.inner_text("#verdict")
    assert "Latency of a query at most" in text
    assert "(no design at all meets it)" in text
    assert page.locator("#row-latency_ms.binds").count() == 1
    ((_, nearest),) = causes_of(page)
    assert least <= nearest < least * 1.001
    bound(page, {"latency_ms": nearest})
    assert points[chosen(page)]["latency_ms"] == least
    assert page.inner_text("#verdict") == ""


def test_relaxing_either_limit_helps(page, data):
    points = points_of(data)
    fastest = min(points, key=lambda point: point["latency_ms"])
    smallest = min(points, key=lambda point: point["area_mm2"])
    bounds = {"latency_ms": fastest["latency_ms"], "area_mm2": smallest["area_mm2"]}
    assert not within(points, bounds)
    bound(page, bounds)
    causes = causes_of(page)
    assert [name for name, _ in causes] == ["latency_ms", "area_mm2"]
    assert "no design at all" not in page.inner_text("#verdict")
    for name, nearest in causes:
        assert within(points, bounds | {name: nearest})
        assert not within(points, bounds | {name: nearest * 0.998})


def test_limits_that_no_single_one_can_relax(page, data):
    points = points_of(data)
    bounds = {"latency_ms": 1e-3, "area_mm2": 0.5}
    bound(page, bounds)
    assert "no single one can be relaxed" in page.inner_text("#verdict")
    causes = causes_of(page)
    assert {name for name, _ in causes} == set(bounds)
    assert within(points, dict(causes))
    # No point misses its worst limit by a smaller factor.
    least = min(max(point[name] / most for name, most in bounds.items()) for point in points)
    worst = max(nearest / bounds[name] for name, nearest in causes)
    assert least <= worst < 1.002 * least


def test_a_load_that_power_forbids(page, data):
    """The nearest load is the one that power allows, not the one that the design could carry."""
    points = points_of(data)
    most = max(point["qps"] for point in points)
    watt = min(value(point, "power_w", most / 2) for point in points) * 0.9
    bounds = {"qps": most / 2, "power_w": watt}
    assert not within(points, bounds)
    bound(page, bounds)
    causes = dict(causes_of(page))
    assert set(causes) == set(bounds)
    load = max(min(p["qps"], (watt - p["clock_w"]) * 1e6 / p["query_uj"]) for p in points)
    assert load * 0.999 < causes["qps"] <= load < bounds["qps"]
    for name, nearest in causes.items():
        assert within(points, bounds | {name: nearest})


def test_limits_that_all_designs_meet_do_not_count(page, data):
    points = points_of(data)
    bounds = {"latency_ms": 1e-3, "area_mm2": 0.5, "ndcg": 0.0}
    bound(page, bounds)
    causes = dict(causes_of(page))
    assert set(causes) == {"latency_ms", "area_mm2"}
    least = min(max(p[name] / bounds[name] for name in causes) for p in points)
    assert max(causes[name] / bounds[name] for name in causes) < 1.002 * least


def test_a_click_and_the_keys_choose(page, data):
    points = points_of(data)
    bound(page, {"ndcg": 90.0})
    left = within(points, {"ndcg": 90.0})
    order = sorted(left, key=lambda place: (points[place]["latency_ms"], place))
    first = chosen(page)
    assert first == order[0]
    page.focus("#plot")
    page.keyboard.press("ArrowRight")
    assert chosen(page) == order[1]
    assert "picked by hand" in page.inner_text("#count")
    page.keyboard.press("End")
    assert chosen(page) == order[-1]
    page.keyboard.press("ArrowRight")
    assert chosen(page) == order[-1]
    outside = next(place for place in range(len(points)) if place not in left)
    page.dispatch_event(f"circle[data-index='{outside}']", "click")
    assert chosen(page) == outside
    page.click("#again")
    assert chosen(page) == first


def test_sliders_set_limits(page, data):
    points = points_of(data)
    page.click("#reset")
    page.wait_for_function("document.getElementById('limit-ndcg').value === ''")
    assert page.inner_text("#count") == (
        f"{len(points)} of {len(points)} points are within the limits."
    )
    page.focus("#slide-area_mm2")
    page.keyboard.press("Home")
    least = min(point["area_mm2"] for point in points)
    assert least <= float(page.input_value("#limit-area_mm2")) < 1.001 * least
    assert points[chosen(page)]["area_mm2"] == least
    page.keyboard.press("End")
    assert page.input_value("#limit-area_mm2") == ""


def test_the_design_its_parts_and_its_timeline(page, data):
    points = points_of(data)
    point = points[chosen(page)]
    facts, figures = rows_of(page, "facts"), rows_of(page, "figures")
    assert facts["Pipeline"] == f"rmsmall {point['candidates']} → rmlarge {point['k']} → 64"
    assert facts["Lanes, each of rows x columns of blocks"] == point["split"]
    power = figures["Power at that load [W], 500 queries/s"]
    assert float(power) == pytest.approx(value(point, "power_w", 500.0), rel=1e-3)
    for table, names, values in (
        ("latency-parts", data["terms"], point["terms_us"]),
        ("area-parts", data["area_parts"], data["areas"][point["area"]]),
        ("energy-parts", data["energy_parts"], point["energy_uj"]),
    ):
        rows = {name: float(text.replace(",", "")) for name, text in rows_of(page, table).items()}
        assert list(rows) == [*names, "sum"]
        assert list(rows.values())[:-1] == pytest.approx(values, rel=1e-3)
        assert rows["sum"] == pytest.approx(sum(values), rel=1e-3)
    lanes = {task[1] for task in point["tasks"]}
    names = page.locator("#timeline text").all_text_contents()
    assert {f"lane {lane}" for lane in lanes} == {name for name in names if name[:4] == "lane"}
    bars = page.locator("#timeline rect").evaluate_all(
        "all => all.map((bar) => ['x', 'width'].map((name) => Number(bar.getAttribute(name))))"
    )
    assert len(bars) == 3 * len(point["tasks"]) + 4  # the link twice, two stages' filter or list
    assert max(x + width for x, width in bars) == pytest.approx(1080, abs=1)
    total = sum(point["terms_us"])
    first = min(task[3] for task in point["tasks"]) * 1e6 / data["clock_hz"]
    begin = 128 + 952 * (point["terms_us"][0] + first) / total  # the first gather
    assert min(x for x, _ in bars if x > 128) == pytest.approx(begin, abs=0.02)
    batches = sum(len(task[8]) + len(task[9]) - 2 for task in point["tasks"])
    assert page.locator("#timeline line.tick").count() == batches


@pytest.mark.parametrize(
    ("x", "y"), [("latency_ms", "ndcg"), ("area_mm2", "ndcg"), ("ndcg", "area_mm2")]
)
def test_the_line_joins_the_front_of_two_figures(page, data, x, y):
    points = points_of(data)
    bounds = {"query_uj": 500.0}
    bound(page, bounds)
    page.select_option("#x-axis", x)
    page.select_option("#y-axis", y)
    left = [points[place] for place in within(points, bounds)]

    def cost(point):
        return tuple(-point[name] if name in MORE else point[name] for name in (x, y))

    costs = {cost(point) for point in left}
    front = {
        one for one in costs
        if not any(a <= one[0] and b <= one[1] and (a, b) != one for a, b in costs)
    }  # fmt: skip
    assert 0 < len(front) < len(costs)
    path = page.get_attribute("#plot path.best", "d")
    corners = [[float(at) for at in corner.split()] for corner in path[1:].split("L")]
    assert len(corners) == len(front)
    dots = page.locator("circle.point").evaluate_all(
        "all => all.map((dot) => ['cx', 'cy'].map((name) => Number(dot.getAttribute(name))))"
    )
    spots = {cost(point): spot for point, spot in zip(points, dots, strict=True)}
    assert sorted(spots[one] for one in front) == sorted(corners)


@pytest.mark.parametrize("group", ["pipeline", "split", "array"])
def test_colours_and_axes_follow_the_picks(page, data, group):
    points = points_of(data)
    page.select_option("#colour", group)
    of = {
        "pipeline": lambda p: f"{p['candidates']} → {p['k']}",
        "split": lambda p: p["split"],
        "array": lambda p: f"{p['array_size']} x {p['array_size']}",
    }[group]
    assert set(page.locator("#legend span").all_inner_texts()) == set(map(of, points))
    page.select_option("#y-axis", "power_w")
    assert page.text_content("#y-label") == "Power at that load [W], 500 queries/s"


def test_power_without_a_load_is_that_of_the_clock(page, data):
    bound(page, {})
    page.select_option("#y-axis", "power_w")
    label = "Power at that load [W], clock only"
    assert page.text_content("#y-label") == label
    shown = float(rows_of(page, "figures")[label])
    assert shown == pytest.approx(points_of(data)[chosen(page)]["clock_w"], rel=1e-3)


def test_the_served_items_are_those_of_the_data(open_page, data):
    page = open_page(data | {"served": 32})
    assert "NDCG of 32 served items" in page.inner_text("#notes")
    assert "64 served" not in page.inner_text("#notes")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_on_its_ground(page, scheme):
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate(
        "() => { const of = (name) => getComputedStyle(document.querySelector(name));"
        "return [of('body').color, of('.small').color, of('body').backgroundColor]; }"
    )
    text, muted, ground = (_luminance(colour) for colour in colours)
    for ink in (text, muted):  # WCAG 2.1, 1.4.3: at least 4.5 to 1
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


def _luminance(colour):
    """Return WCAG's relative luminance of "rgb(r, g, b)"."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
