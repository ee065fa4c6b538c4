// What the limits leave, which of it is chosen, and why nothing is left. No DOM in here.

const LIMITS = [
  {name: "latency_ms", label: "Latency of a query", unit: "ms", more: false},
  {name: "ndcg", label: "Quality, NDCG@64 x 100", unit: "", more: true},
  {name: "area_mm2", label: "Area at 12 nm", unit: "mm²", more: false},
  {name: "qps", label: "Load that it carries", unit: "queries/s", more: true},
  {name: "power_w", label: "Power at that load", unit: "W", more: false},
  {name: "query_uj", label: "Energy of a query", unit: "µJ", more: false},
];
const LIMIT = Object.fromEntries(LIMITS.map((limit) => [limit.name, limit]));
const TIES = ["latency_ms", "query_uj", "area_mm2"];
const DIGITS = 4;

// The points as objects, from their lists.
function readPoints(data) {
  return data.points.map((list, index) => {
    const point = {index};
    data.fields.forEach((field, at) => { point[field] = list[at]; });
    return point;
  });
}

// A figure of a point; power is that of its queries at the load, and of its clock.
function valueOf(point, name, load) {
  if (name === "power_w") return 1e-6 * point.query_uj * load + point.clock_w;
  return point[name];
}

function meets(point, name, bound, load) {
  const value = valueOf(point, name, load);
  return LIMIT[name].more ? value >= bound : value <= bound;
}

// bounds: figure -> number, of those that are bounded.
function within(points, bounds, load) {
  const names = Object.keys(bounds);
  return points.filter((point) => names.every((name) => meets(point, name, bounds[name], load)));
}

// Negative if `a` is the better one: by the objective, then by TIES, then the first.
function better(a, b, objective, load) {
  for (const name of [objective, ...TIES]) {
    const gap = valueOf(a, name, load) - valueOf(b, name, load);
    if (gap) return LIMIT[name].more ? -gap : gap;
  }
  return a.index - b.index;
}

function best(points, objective, load) {
  return points.reduce(
    (found, point) => (found && better(found, point, objective, load) <= 0 ? found : point), null);
}

// A bound in few digits that `value` still meets.
function outward(value, more) {
  if (!(value > 0)) return 0;
  const unit = 10 ** (Math.floor(Math.log10(value)) - DIGITS + 1);
  const near = Math.round(value / unit);
  const bounds = [near - 1, near, near + 1].map((steps) =>
    Number((steps * unit).toPrecision(DIGITS)));
  return more ? bounds.findLast((bound) => bound <= value) : bounds.find((bound) => bound >= value);
}

// The largest load that a point carries within the other limits; null if there is none. A bound on
// power is one on the load, too: the power falls with it.
function mostLoad(points, others) {
  const {power_w: most, ...rest} = others;
  let found = null;
  for (const point of within(points, rest, 0)) {
    const powered = most === undefined ? Infinity : 1e6 * (most - point.clock_w) / point.query_uj;
    const load = Math.min(point.qps, powered);
    if (load > 0 && (found === null || load > found)) found = load;
  }
  return found;
}

// Why no point is left: [{name, bound, nearest, alone}]; nearest: the least relaxed bound that,
// with all others kept, leaves a point. alone: no point meets this one bound, others or not.
// Empty if only several bounds together can be relaxed.
function binding(points, bounds, load) {
  const found = [];
  for (const name of Object.keys(bounds)) {
    const others = {...bounds};
    delete others[name];
    const any = within(points, {[name]: bounds[name]}, load).length > 0;
    let value = null;
    if (name === "qps") {
      value = mostLoad(points, others);
    } else {
      const left = best(within(points, others, load), name, load);
      if (left) value = valueOf(left, name, load);
    }
    if (value !== null) {
      const nearest = outward(value, LIMIT[name].more);
      found.push({name, bound: bounds[name], nearest, alone: !any});
    }
  }
  return found;
}

// The point whose worst miss, as a share of the bound, is least: [{name, bound, nearest}].
function closest(points, bounds, load) {
  const miss = (point, name) => {
    if (meets(point, name, bounds[name], load)) return 0;
    const value = valueOf(point, name, load);
    const ratio = LIMIT[name].more ? bounds[name] / value : value / bounds[name];
    return ratio > 0 && Number.isFinite(ratio) ? Math.log(ratio) : Infinity;
  };
  let found = null, least = Infinity;
  for (const point of points) {
    const worst = Math.max(...Object.keys(bounds).map((name) => miss(point, name)));
    if (found === null || worst < least) { found = point; least = worst; }
  }
  return Object.keys(bounds)
    .filter((name) => !meets(found, name, bounds[name], load))
    .map((name) => ({name, bound: bounds[name],
      nearest: outward(valueOf(found, name, load), LIMIT[name].more)}));
}

// Of `points`, those that no other beats in both figures, along the first.
function frontOf(points, x, y, load) {
  const gapOf = (a, b, name) =>
    (valueOf(a, name, load) - valueOf(b, name, load)) * (LIMIT[name].more ? -1 : 1);
  const order = [...points].sort((a, b) => gapOf(a, b, x) || gapOf(a, b, y) || a.index - b.index);
  const kept = [];
  for (const point of order) {
    const last = kept[kept.length - 1];
    const gap = last && valueOf(point, y, load) - valueOf(last, y, load);
    if (!last || (LIMIT[y].more ? gap > 0 : gap < 0)) kept.push(point);
  }
  return kept;
}
