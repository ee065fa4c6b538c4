// The chosen design: what it is, its query's timeline, where time, area and energy go.

const LANE_PX = 30, TIME_LEFT = 128, TIME_RIGHT = 1080;

function fillTable(table, caption, rows) {
  const head = document.createElement("caption");
  head.textContent = caption;
  const body = document.createElement("tbody");
  for (const [name, value, css] of rows) {
    const row = body.insertRow();
    row.className = css || "";
    const label = document.createElement("th");
    label.scope = "row";
    label.textContent = name;
    row.append(label);
    row.insertCell().textContent = value;
  }
  table.replaceChildren(head, body);
  return body;
}

function kib(value) {
  return value >= 1024 ? `${digits(value / 1024)} MiB` : `${value} KiB`;
}

function tasksOf(items, taskItems) {
  const size = Math.min(taskItems || items, items), count = Math.ceil(items / size);
  return count === 1 ? `one of ${items}` : `${count} of ${size}`;
}

function showFacts(data, point, load) {
  const [first, second] = data.stages;
  fillTable(document.getElementById("facts"), "Design", [
    ["Pipeline", `${first} ${point.candidates} → ${second} ${point.k} → ${data.served}`],
    ["Array", `${point.array_size} x ${point.array_size} cells`],
    ["Lanes, each of rows x columns of blocks", point.split],
    ["Memory ports x bytes a beat", `${point.memory_ports} x ${point.beat_bytes}`],
    ["Static cache, of stage 0", point.static_cache_kib
      ? `${kib(point.static_cache_kib)}, ${point.static_front_percent} %` : "none"],
    ["Look-ahead cache", kib(point.look_ahead_kib)],
    ["Items of a sub-batch, both stages", `${point.front_sub_batch}, ${point.back_sub_batch}`],
    ["Tasks of stage 0", tasksOf(point.candidates, point.front_task_items)],
    ["Tasks of stage 1", tasksOf(point.k, point.back_task_items)],
    ["Point of the sweep", `${point.number} of ${point.candidates} candidates`],
  ]);
  const notes = {
    latency_ms: ", closed forms",
    ndcg: point.published ? ", published" : ", from published ones",
  };
  const figures = LIMITS.map(({name}) =>
    [namedAt(name, load) + (notes[name] || ""), digits(valueOf(point, name, load))]);
  const event = point.terms_us.reduce((sum, part) => sum + part, 0) / 1e3;
  figures.splice(1, 0, ["Latency of a query [ms], event model", digits(event)]);
  fillTable(document.getElementById("figures"), "Figures", figures);
}

function showParts(id, caption, names, values) {
  const total = values.reduce((sum, value) => sum + value, 0), most = Math.max(...values);
  const rows = names.map((name, at) => [name, digits(values[at])]);
  const body = fillTable(document.getElementById(id), caption,
    [...rows, ["sum", digits(total), "sum"]]);
  [...body.rows].forEach((row, at) => {
    const cell = row.insertCell();
    cell.className = "bar";
    if (at >= values.length) return;
    const bar = document.createElement("span");
    bar.style.width = `${100 * values[at] / most}%`;
    cell.append(bar);
  });
}

function bar(svg, from, to, top, height, colour, title, css) {
  const node = draw(svg, "rect", {x: from.toFixed(2), y: top, height, class: css || "",
    width: Math.max(0.6, to - from).toFixed(2), style: `fill: ${colour}`});
  draw(node, "title", {}, title);
}

function showTimeline(data, point) {
  const svg = document.getElementById("timeline");
  svg.replaceChildren();
  const us = 1e6 / data.clock_hz, linkIn = point.terms_us[0];
  const machine = point.event_cycles * us;
  const total = linkIn + machine + point.terms_us[point.terms_us.length - 1];
  const at = (time) => TIME_LEFT + (TIME_RIGHT - TIME_LEFT) * time / total;
  const cycle = (cycles) => at(linkIn + cycles * us);
  const lanes = [...new Set(point.tasks.map((task) => task[1]))].sort((a, b) => a - b);
  const names = ["link", ...lanes.map((lane) => `lane ${lane}`), "filter, list"];
  const height = names.length * LANE_PX + 40;
  svg.setAttribute("viewBox", `0 0 1100 ${height}`);
  for (const time of ticks(0, total, false)) {
    draw(svg, "line", {x1: at(time), x2: at(time), y1: 4, y2: height - 34, class: "grid"});
    draw(svg, "text", {x: at(time), y: height - 20, "text-anchor": "middle"}, digits(time));
  }
  draw(svg, "text", {x: TIME_LEFT - 8, y: height - 20, "text-anchor": "end"}, "time [µs]");
  names.forEach((name, row) => {
    draw(svg, "text", {x: TIME_LEFT - 8, y: row * LANE_PX + 22, "text-anchor": "end"}, name);
  });
  bar(svg, at(0), at(linkIn), 8, 22, "var(--c4)", `records in: ${digits(linkIn)} µs`);
  bar(svg, cycle(point.event_cycles), at(total), 8, 22, "var(--c4)",
    `list out: ${digits(total - linkIn - machine)} µs`);
  for (const task of point.tasks) showTask(svg, task, lanes, cycle, us);
  const bottom = (names.length - 1) * LANE_PX + 8;
  point.ends.forEach((end, stage) => {
    const scored = Math.max(...point.tasks.filter((task) => task[0] === stage).map((t) => t[7]));
    bar(svg, cycle(scored), cycle(end), bottom, 22, `var(--c${stage})`,
      `stage ${stage}: filter or list done, ${digits((end - scored) * us)} µs`);
  });
  drawLegend(document.getElementById("timeline-legend"), [
    {name: `stage 0, ${data.stages[0]}: layers`, colour: "var(--c0)"},
    {name: "its gather", colour: "var(--c0)", css: "gather"},
    {name: `stage 1, ${data.stages[1]}: layers`, colour: "var(--c1)"},
    {name: "its gather", colour: "var(--c1)", css: "gather"},
    {name: "scores into the filter", colour: "var(--c2)"}, {name: "link", colour: "var(--c4)"},
  ]);
  document.getElementById("timeline-note").textContent =
    `Event model: ${digits(point.event_cycles)} cycles on the machine at ` +
    `${digits(data.clock_hz / 1e6)} MHz; the sweep's closed forms, by which points are compared: ` +
    `${digits(point.latency_cycles)}. ${point.tasks.length} tasks (RecPipe's sub-batches); ` +
    "marks inside them end the sub-batches that a lane takes at a time.";
}

// task: stage, lane, items, start, gathered, computing, end, scored, ends of gathers, of logits.
function showTask(svg, task, lanes, cycle, us) {
  const [stage, lane, items, start, gathered, computing, end, scored, gathers, logits] = task;
  const top = (lanes.indexOf(lane) + 1) * LANE_PX + 6, colour = `var(--c${stage})`;
  const what = `lane ${lane}, stage ${stage}, ${items} items`;
  bar(svg, cycle(start), cycle(gathered), top, 9, colour,
    `${what}: gather ${digits((gathered - start) * us)} µs`, "gather");
  bar(svg, cycle(computing), cycle(end), top + 10, 11, colour,
    `${what}: layers ${digits((end - computing) * us)} µs`);
  bar(svg, cycle(end), cycle(scored), top + 22, 3, "var(--c2)", `${what}: scores`);
  for (const [ends, y, height] of [[gathers, top, 9], [logits, top + 10, 11]]) {
    for (const after of ends.slice(0, -1)) {
      const x = cycle(start + after).toFixed(2);
      draw(svg, "line", {x1: x, x2: x, y1: y, y2: y + height, class: "tick"});
    }
  }
}

function showPoint(data, point, load) {
  const chosen = document.getElementById("chosen");
  chosen.hidden = point === null;
  chosen.dataset.index = point ? point.index : "";
  if (!point) return;
  document.getElementById("title").textContent = `The design: ${GROUPS.pipeline.of(point)} on ` +
    `${GROUPS.array.of(point)}, ${point.split}`;
  showFacts(data, point, load);
  showTimeline(data, point);
  showParts("latency-parts", "Latency [µs], each moment once", data.terms, point.terms_us);
  showParts("area-parts", "Area [mm² at 12 nm]", data.area_parts, data.areas[point.area]);
  showParts("energy-parts", "Energy of a query [µJ, 12 nm, DDR4]", data.energy_parts,
    point.energy_uj);
}
