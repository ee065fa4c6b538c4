// The form, and what follows from it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const POINTS = readPoints(DATA);
const SLIDES = 400;  // steps of a slider
const START = {qps: "500", ndcg: "92.25"};  // limits to begin with: RecPipe's quality
const OBJECTIVES = LIMITS.map((limit) =>
  [limit.name, `${limit.more ? "most" : "least"} ${limit.label.toLowerCase()}`]);
const node = (id) => document.getElementById(id);
let picked = null;  // by hand; else the best

function options(select, entries, value) {
  for (const [name, text] of entries) select.add(new Option(text, name, name === value, name === value));
}

function limitRow(limit) {
  const row = document.createElement("div");
  row.className = "limit";
  row.id = `row-${limit.name}`;
  const label = document.createElement("label");
  label.htmlFor = `limit-${limit.name}`;
  label.textContent = `${named(limit)}, at ${limit.more ? "least" : "most"}`;
  const inputs = document.createElement("div");
  inputs.className = "inputs";
  const number = Object.assign(document.createElement("input"), {
    type: "number", id: `limit-${limit.name}`, min: "0", step: "any", placeholder: "none",
    defaultValue: START[limit.name] || "",
  });
  const slide = Object.assign(document.createElement("input"), {
    type: "range", id: `slide-${limit.name}`, min: "0", max: String(SLIDES), step: "1",
  });
  slide.setAttribute("aria-label", `${limit.label}, slider`);
  number.addEventListener("input", () => { picked = null; render(); });
  slide.addEventListener("input", () => {
    number.value = slideValue(limit, Number(slide.value));
    picked = null;
    render(limit.name);
  });
  inputs.append(number, slide);
  row.append(label, inputs);
  return row;
}

function range(limit) {
  const values = POINTS.map((point) => valueOf(point, limit.name, loadNow()));
  return [Math.min(...values), Math.max(...values)];
}

// The loosest end of a slider is no limit.
function slideValue(limit, at) {
  const [low, high] = range(limit);
  if (at === (limit.more ? 0 : SLIDES)) return "";
  return outward(low * (high / low) ** (at / SLIDES), limit.more);
}

function slidePlace(limit, bound) {
  const [low, high] = range(limit);
  if (bound === undefined) return limit.more ? 0 : SLIDES;
  if (!(bound > 0) || low === high) return 0;
  return Math.round(SLIDES * Math.log(bound / low) / Math.log(high / low));
}

function boundsNow() {
  const bounds = {};
  for (const {name} of LIMITS) {
    const text = node(`limit-${name}`).value;
    if (text !== "" && Number.isFinite(Number(text))) bounds[name] = Number(text);
  }
  return bounds;
}

function loadNow() {
  const load = Number(node("limit-qps").value);
  return load > 0 ? load : 0;
}

function phrase({name, bound, nearest}) {
  const {label, unit, more} = LIMIT[name];
  const side = more ? "at least" : "at most";
  return `${label} ${side} ${digits(bound, 6)} ${unit} binds: the nearest that can be met is ` +
    `${digits(nearest, 6)} ${unit}`;
}

function showVerdict(bounds, load, left) {
  const verdict = node("verdict");
  for (const {name} of LIMITS) node(`row-${name}`).classList.remove("binds");
  verdict.replaceChildren();
  if (left.length) return;
  const single = binding(POINTS, bounds, load);
  const causes = single.length ? single : closest(POINTS, bounds, load);
  const head = document.createElement("p");
  head.textContent = single.length
    ? "No design is within these limits. With the others kept:"
    : "No design is within these limits, and no single one can be relaxed. Together:";
  const list = document.createElement("ul");
  for (const cause of causes) {
    node(`row-${cause.name}`).classList.add("binds");
    const entry = document.createElement("li");
    entry.textContent = phrase(cause) + (cause.alone ? " (no design at all meets it)" : "");
    entry.dataset.name = cause.name;
    entry.dataset.nearest = cause.nearest;
    list.append(entry);
  }
  verdict.append(head, list);
}

function render(sliding) {
  const bounds = boundsNow(), load = loadNow();
  const left = within(POINTS, bounds, load);
  const chosen = picked || best(left, node("objective").value, load);
  for (const limit of LIMITS) {
    const value = slidePlace(limit, bounds[limit.name]);
    if (limit.name !== sliding) node(`slide-${limit.name}`).value = value;
  }
  node("count").textContent = `${left.length} of ${POINTS.length} points are within the limits.` +
    (picked ? " The one shown was picked by hand." : "");
  showVerdict(bounds, load, left);
  drawPlot(node("plot"), node("legend"), {points: POINTS, left, chosen, load,
    x: node("x-axis").value, y: node("y-axis").value, group: node("colour").value});
  showPoint(DATA, chosen, load);
}

function pick(point) {
  picked = point;
  render();
}

// Arrow keys: the points within the limits, along the axis across.
function step(event) {
  const moves = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity,
    End: Infinity};
  if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
  const load = loadNow(), x = node("x-axis").value;
  const order = within(POINTS, boundsNow(), load).sort(
    (a, b) => valueOf(a, x, load) - valueOf(b, x, load) || a.index - b.index);
  if (!order.length) return;
  event.preventDefault();
  const now = order.findIndex((point) => String(point.index) === node("chosen").dataset.index);
  pick(order[Math.max(0, Math.min(order.length - 1, now + moves[event.key]))]);
}

function notes() {
  const {candidates, evaluated, front, step: size, closed_form_error: error} = DATA;
  const percent = (share) => `${digits(100 * share, 3)} %`;
  const lines = [
    `${evaluated.toLocaleString("en-US")} designs of the sweep ${DATA.spec} were evaluated, with ` +
      `${candidates.join(", ")} candidates each. ${front.toLocaleString("en-US")} of them are not ` +
      "beaten in all of latency, quality, area, energy, clock power and load; " +
      `${POINTS.length.toLocaleString("en-US")} of those are on this page` +
      (size ? `: for every design there is one here that is worse by less than ${digits(100 * size, 3)} % in ` +
        "any figure and no worse in NDCG." : ", which is all of them."),
    "Latency: a query alone, link included; queues of a load are not in it. Points are compared by " +
      "the closed forms of the performance model; timeline and parts are its event model's, beside " +
      `which the closed forms' cycles are off by ${percent(error.mean)} on average, ` +
      `${percent(error.lowest)} to ${percent(error.highest)}. A moment in which several things go ` +
      "on counts for the first of them in the list.",
    `Quality: NDCG of ${DATA.served} served items as published (RecPipe's artifact); not measured here. Where ` +
      "a pair of candidates and k was not published: the large ranker alone on as many candidates, " +
      "and what keeping k costs at 4096.",
    "Area: gates of Yosys at 12 nm and macros of memory, without control, memory fabric and wires " +
      "(rpaccel area): ports and beats cost nothing. Energy: counts times published energies, 12 nm, DDR4 (rpaccel energy). " +
      "Power: that energy times the load, and the clock of the array's cells.",
  ];
  node("notes").replaceChildren(...lines.map((text) => {
    const paragraph = document.createElement("p");
    paragraph.className = "small";
    paragraph.textContent = text;
    return paragraph;
  }));
  node("about").textContent = "Set limits; see which designs are left, which of them is best and " +
    "what a query does on it. Written by rpaccel report; works without server and network.";
}

function start() {
  const figures = LIMITS.map((limit) => [limit.name, named(limit)]);
  node("rows").append(...LIMITS.map(limitRow));
  options(node("objective"), OBJECTIVES, "latency_ms");
  options(node("x-axis"), figures, "latency_ms");
  options(node("y-axis"), figures, "ndcg");
  options(node("colour"), Object.entries(GROUPS).map(([name, group]) => [name, group.label]),
    "pipeline");
  notes();
  node("limits").addEventListener("submit", (event) => event.preventDefault());
  node("limits").addEventListener("reset", () => {
    setTimeout(() => {
      for (const {name} of LIMITS) node(`limit-${name}`).value = "";
      picked = null;
      render();
    });
  });
  node("again").addEventListener("click", () => { picked = null; render(); });
  node("objective").addEventListener("change", () => { picked = null; render(); });
  for (const id of ["x-axis", "y-axis", "colour"]) node(id).addEventListener("change", () => render());
  node("plot").addEventListener("keydown", step);
  node("plot").addEventListener("click", (event) => {
    const dot = event.target.closest("circle.point");
    if (dot) pick(POINTS[dot.dataset.index]);
  });
  render();
}

start();
