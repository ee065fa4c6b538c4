// The scatter plot, and what any drawing here needs.

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 12;
const PLOT = {left: 64, right: 745, top: 14, bottom: 392};

function draw(parent, tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

const FORMAT = new Intl.NumberFormat("en-US", {maximumFractionDigits: 6});

function digits(value, count = DIGITS) {
  return FORMAT.format(Number(value.toPrecision(count)));
}

function named(limit) {
  return limit.unit ? `${limit.label} [${limit.unit}]` : limit.label;
}

// A figure's name with the load that it is at; power without one is that of the clock.
function namedAt(name, load) {
  if (name !== "power_w") return named(LIMIT[name]);
  return named(LIMIT[name]) + (load ? `, ${digits(load)} queries/s` : ", clock only");
}

// Round numbers from low to high: 1, 2, 5 of each power of ten if `log`, else even steps.
function ticks(low, high, log) {
  const found = [];
  if (log && high / low > 3) {
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
      for (const lead of [1, 2, 5]) found.push(lead * 10 ** power);
    }
  } else {
    const rough = (high - low) / 6;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 5, 10].find((lead) => lead * unit >= rough);
    for (let at = Math.ceil(low / step); at * step <= high; at += 1) found.push(at * step);
  }
  return found.filter((value) => value >= low && value <= high);
}

// value -> place between `from` and `to`.
function scale(values, from, to, log) {
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) { low *= 0.9; high = high * 1.1 || 1; }
  const gap = log ? (high / low) ** 0.04 : (high - low) * 0.04;
  low = log ? low / gap : low - gap;
  high = log ? high * gap : high + gap;
  const bend = log ? Math.log : Number;
  const place = (value) =>
    from + (to - from) * (bend(value) - bend(low)) / (bend(high) - bend(low));
  return {place, ticks: ticks(low, high, log)};
}

const GROUPS = {
  pipeline: {label: "pipeline", of: (point) => `${point.candidates} → ${point.k}`},
  split: {label: "split of the array", of: (point) => point.split},
  array: {label: "array", of: (point) => `${point.array_size} x ${point.array_size}`},
};

// Group -> CSS colour, in the order of the points; the legend is drawn beside it.
function colours(points, group, legend) {
  const names = [...new Set(points.map(GROUPS[group].of))];
  const found = new Map(names.map((name, at) => [name, `var(--c${at % COLOURS})`]));
  drawLegend(legend, [...found].map(([name, colour]) => ({name, colour})));
  return found;
}

function drawLegend(legend, entries) {
  legend.replaceChildren(...entries.map(({name, colour, css}) => {
    const entry = document.createElement("span"), key = document.createElement("i");
    key.style.background = colour;
    if (css) key.className = css;
    entry.append(key, name);
    return entry;
  }));
}

function drawAxes(svg, x, y, load, across, up) {
  const {left, right, top, bottom} = PLOT;
  for (const value of across.ticks) {
    const at = across.place(value);
    draw(svg, "line", {x1: at, x2: at, y1: top, y2: bottom, class: "grid"});
    draw(svg, "text", {x: at, y: bottom + 16, "text-anchor": "middle"}, digits(value));
  }
  for (const value of up.ticks) {
    const at = up.place(value);
    draw(svg, "line", {x1: left, x2: right, y1: at, y2: at, class: "grid"});
    draw(svg, "text", {x: left - 6, y: at + 4, "text-anchor": "end"}, digits(value));
  }
  draw(svg, "path", {d: `M${left} ${top}V${bottom}H${right}`, class: "axis"});
  draw(svg, "text", {x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle", id: "x-label"},
    namedAt(x, load));
  draw(svg, "text", {transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)`,
    "text-anchor": "middle", id: "y-label"}, namedAt(y, load));
}

let drawn = {key: "", dots: [], spots: [], overlay: null};  // what does not change with limits

// view: {points, left (within the limits), chosen, x, y, group, load}.
function drawPoints(svg, legend, view) {
  const {points, x, y, group, load} = view;
  svg.replaceChildren();
  const values = (name) => points.map((point) => valueOf(point, name, load));
  const across = scale(values(x), PLOT.left, PLOT.right, x !== "ndcg");
  const up = scale(values(y), PLOT.bottom, PLOT.top, y !== "ndcg");
  drawAxes(svg, x, y, load, across, up);
  const colour = colours(points, group, legend), layer = draw(svg, "g", {});
  drawn.spots = points.map((point) =>
    [across.place(valueOf(point, x, load)), up.place(valueOf(point, y, load))]
      .map((at) => at.toFixed(1)));
  drawn.dots = points.map((point, at) => {
    const [cx, cy] = drawn.spots[at];
    const dot = draw(layer, "circle", {cx, cy, r: 4, class: "point",
      style: `fill: ${colour.get(GROUPS[group].of(point))}`, "data-index": point.index});
    draw(dot, "title", {}, `${GROUPS.pipeline.of(point)}, ${GROUPS.array.of(point)}, ` +
      `${point.split}: ${digits(point.latency_ms)} ms, NDCG ${digits(point.ndcg)}`);
    return dot;
  });
  drawn.overlay = draw(svg, "g", {});
}

function drawPlot(svg, legend, view) {
  const {points, left, chosen, x, y, group, load} = view;
  const key = [x, y, group, [x, y].includes("power_w") ? load : ""].join();
  if (key !== drawn.key) drawPoints(svg, legend, view);
  drawn.key = key;
  const inside = new Set(left);
  points.forEach((point, at) => drawn.dots[at].classList.toggle("out", !inside.has(point)));
  drawn.overlay.replaceChildren();
  const line = x === y ? [] : frontOf(left, x, y, load);
  const path = line.map((point) => drawn.spots[point.index].join(" ")).join("L");
  draw(drawn.overlay, "path", {d: path ? `M${path}` : "", class: "best"});
  if (chosen) {
    const [cx, cy] = drawn.spots[chosen.index];
    draw(drawn.overlay, "circle", {cx, cy, r: 8, class: "ring"});
  }
}
