// The live page: follows a study by what is new, and draws it.

import { curve, element, number, parallel, scatter } from "./charts.js";

const MOST_DOTS = 4000, MOST_ROWS = 200, MOST_THREADS = 120, MOST_CHOSEN = 4;
const at = (id) => document.getElementById(id);
const seen = { names: [], open: 0, study: null };
const chosen = new Set(), bounds = new Map();
let sorting = null, again = false, busy = false;

// -- what is known ---------------------------------------------------------------------------------------------------

function empty() {
  return { epoch: "", next: 0, records: new Map(), about: null };
}

async function follow() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      const open = seen.open, study = seen.study;
      for (let more = true; more && open === seen.open; ) {
        const answer = await fetch(`api/studies/${open}?since=${study.next}`);
        if (!answer.ok) throw new Error(await answer.text());
        const told = await answer.json();
        if (told.epoch !== study.epoch && study.next) { Object.assign(study, empty(), { epoch: told.epoch }); continue; }
        study.epoch = told.epoch;
        for (const record of told.records) { study.records.delete(record.id); study.records.set(record.id, record); }
        more = told.next < told.count;
        study.next = told.next;
        study.about = told;
      }
      draw();
    } while (again);
  } catch (error) {
    say(`not connected: ${error.message}`);
  } finally { busy = false; }
}

function listen() {
  const source = new EventSource("api/events");
  source.onmessage = (event) => { if (JSON.parse(event.data).includes(seen.open)) follow(); };
  source.onerror = () => say("not connected; trying again");
}

function say(text) { at("said").textContent = text; }

const loss = (objective, record) => (objective.direction === "max" ? -1 : 1) * record.values[objective.name];
const whole = (record, objectives) => record.status === "ok" && objectives.every((o) => o.name in record.values && !record.open.includes(o.name));

function dominates(a, b) {
  let better = false;
  for (let i = 0; i < a.length; i++) { if (a[i] > b[i]) return false; if (a[i] < b[i]) better = true; }
  return better;
}

// The front, and fronts on the way to it, of points in the order of measuring.
function fronts(points, moments) {
  let front = [];
  const found = [];
  points.forEach((point, i) => {
    if (!front.some((other) => dominates(other.losses, point.losses))) {
      front = front.filter((other) => !dominates(point.losses, other.losses));
      front.push(point);
    }
    if (moments.has(i)) found.push([i, front]);
  });
  return { front, found };
}

// The volume that points in the unit cube dominate below (1, ..., 1), by slices along the last dimension.
function volume(points) {
  if (!points.length) return 0;
  const last = points[0].length - 1;
  if (!last) return 1 - Math.min(...points.map((p) => p[0]));
  const sorted = [...points].sort((a, b) => a[last] - b[last]);
  let sum = 0;
  for (let i = 0; i < sorted.length; i++) {
    const upper = i + 1 < sorted.length ? sorted[i + 1][last] : 1;
    if (upper > sorted[i][last]) sum += (upper - sorted[i][last]) * volume(reduced(sorted.slice(0, i + 1).map((p) => p.slice(0, last))));
  }
  return sum;
}

function reduced(points) {
  return points.filter((p, i) => !points.some((q, j) => dominates(q, p) || (j < i && q.every((x, k) => x === p[k]))));
}

// -- what is shown ---------------------------------------------------------------------------------------------------

function metrics(records) {
  const names = new Set();
  for (const record of records) for (const name of Object.keys(record.values)) names.add(name);
  return [...names];
}

function unit(records, name) {
  for (const record of records) if (record.units[name]) return record.units[name];
  return "";
}

function isShown(record) {
  for (const [name, [low, high]] of bounds) {
    const value = record.values[name];
    if ((low !== null && !(value >= low)) || (high !== null && !(value <= high))) return false;
  }
  return true;
}

function draw() {
  const { about, records } = seen.study, all = [...records.values()], objectives = about.objectives;
  const names = metrics(all), shown = all.filter(isShown);
  const points = shown.filter((r) => whole(r, objectives)).map((record) => ({ record, losses: objectives.map((o) => loss(o, record)) }));
  const every = Math.max(1, Math.floor(points.length / 48));
  const moments = new Set(points.map((_, i) => i).filter((i) => i % every === 0 || i === points.length - 1));
  const { front, found } = fronts(points, moments);
  const best = new Set(front.map((p) => p.record.id)), growth = volumes(points, found);
  at("name").textContent = about.name;
  document.title = `${about.count} · ${about.name}`;
  at("problem").hidden = !about.problem && !about.unreadable;
  at("problem").textContent = about.problem || `${about.unreadable} entries cannot be read; netwright repair writes a study without them`;
  say(`${about.count} networks · ${about.limits.length ? `limits: ${about.limits.join(", ")}` : "no limits"} · ${new Date().toLocaleTimeString()}`);
  tiles(about, all, best.size, growth);
  filters(names, all, shown.length);
  axes(names, objectives);
  drawScatter(shown, best, all, objectives);
  curve(at("volume"), growth, { x: "networks measured", y: "share", label: "Hypervolume of the front as networks were measured" });
  threads(about, shown.filter((r) => best.has(r.id) || chosen.has(r.id)), names);
  compare(records, names, objectives, all);
  table(shown, best, names, objectives, all);
  failures(all);
  pending(about);
}

function volumes(points, found) {
  if (!points.length || points[0].losses.length > 4) return [];
  const lows = [...points[0].losses], highs = [...lows];
  for (const { losses } of points) losses.forEach((x, k) => { lows[k] = Math.min(lows[k], x); highs[k] = Math.max(highs[k], x); });
  const unitBox = (p) => p.losses.map((x, k) => (highs[k] > lows[k] ? (x - lows[k]) / (highs[k] - lows[k]) : 0));
  return found.map(([i, front]) => ({ x: i + 1, y: volume(front.map(unitBox)) }));
}

function left(about, all) {
  const times = all.map((r) => r.time).filter((t) => t).sort((a, b) => a - b).slice(-21);
  if (!about.wanted) return ["–", "time left is not known"];
  const open = about.wanted - about.count;
  if (open <= 0) return ["done", "all are measured"];
  if (times.length < 3) return ["–", "time left is not known yet"];
  const seconds = (open * (times[times.length - 1] - times[0])) / (times.length - 1);
  const text = seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  const idle = Date.now() / 1000 - times[times.length - 1];
  return [text, idle > 600 ? `left, if it goes on; the last began ${Math.round(idle / 60)} min ago` : "left, about"];
}

function tiles(about, all, best, growth) {
  const count = (status) => all.filter((r) => r.status === status).length;
  const done = element("div", { class: "tile" }, element("b", {}, about.wanted ? `${about.count} / ${about.wanted}` : `${about.count}`), element("span", {}, "measured"));
  if (about.wanted) done.append(element("progress", { value: about.count, max: about.wanted, "aria-label": "measured" }));
  const tile = (value, text) => element("div", { class: "tile" }, element("b", {}, String(value)), element("span", {}, text));
  const [value, text] = left(about, all);
  const share = growth.length ? `${(100 * growth[growth.length - 1].y).toFixed(1)} %` : "–";
  at("tiles").replaceChildren(done, tile(value, text), tile(best, "on the front"), tile(share, "hypervolume"), tile(count("infeasible"), "beyond a limit"), tile(count("failed"), "failed"));
}

function filters(names, all, shown) {
  at("filtered").textContent = bounds.size ? `${shown} of ${all.length} are shown` : "";
  const place = at("bounds");
  if (place.dataset.names === names.join()) return;
  place.dataset.names = names.join();
  place.replaceChildren(...names.map((name) => {
    const given = bounds.get(name) ?? [null, null];
    const input = (i, text) => element("input", { type: "number", step: "any", placeholder: text, "aria-label": `${name}, ${text}`, value: given[i],
      oninput: (event) => {
        const pair = [...(bounds.get(name) ?? [null, null])];
        pair[i] = event.target.value === "" ? null : Number(event.target.value);
        if (pair[0] === null && pair[1] === null) bounds.delete(name); else bounds.set(name, pair);
        draw();
      } });
    return element("label", {}, element("span", { title: name }, `${name} ${unit(all, name)}`), input(0, "least"), input(1, "most"));
  }));
}

function axes(names, objectives) {
  ["x", "y"].forEach((id, i) => {
    const select = at(id);
    if (select.dataset.names === names.join()) return;
    const before = select.value, first = objectives[1 - i] ?? objectives[0];
    select.dataset.names = names.join();
    select.replaceChildren(...names.map((name) => element("option", { value: name }, name)));
    select.value = names.includes(before) ? before : first && names.includes(first.name) ? first.name : names[i] ?? "";
  });
}

function label(record) {
  return [record.id, ...Object.entries(record.values).map(([name, value]) => `${name} ${number(value)} ${record.units[name] ?? ""}`), record.reason].filter(Boolean).join("\n");
}

function drawScatter(shown, best, all, objectives) {
  const x = at("x").value, y = at("y").value;
  const usable = shown.filter((r) => r.status !== "failed" && x in r.values && y in r.values);
  const rest = usable.filter((r) => !best.has(r.id)).slice(-MOST_DOTS), top = usable.filter((r) => best.has(r.id));
  const point = (record, kind) => ({ x: record.values[x], y: record.values[y], kind, record, chosen: chosen.has(record.id), label: label(record) });
  const line = top.map((r) => point(r, "front")).sort((a, b) => a.x - b.x);
  const two = objectives.length === 2 && objectives.every((o) => o.name === x || o.name === y);
  scatter(at("scatter"), [...rest.map((r) => point(r, r.status)), ...line], two ? line : [],
    { x: `${x} ${unit(all, x)}`, y: `${y} ${unit(all, y)}`, label: `${y} against ${x} of ${usable.length} networks` }, toggle);
}

function threads(about, records, names) {
  const options = Object.entries(about.choices).map(([name, values]) => ({ name, options: values }));
  const figures = names.filter((name) => records.some((r) => name in r.values)).map((name) => ({ name, options: null }));
  const lines = records.slice(-MOST_THREADS).map((r) => ({ values: { ...r.candidate, ...r.values }, chosen: chosen.has(r.id) ? 1 : 0 }));
  parallel(at("parallel"), [...options, ...figures], lines, "Choices and figures of the networks on the front");
}

function toggle(record) {
  if (chosen.has(record.id)) chosen.delete(record.id);
  else {
    if (chosen.size >= MOST_CHOSEN) chosen.delete(chosen.values().next().value);
    chosen.add(record.id);
  }
  draw();
}

function value(record, name) {
  if (!(name in record.values)) return "";
  const spread = record.ci95[name] ? ` ± ${number(record.ci95[name], 2)}` : "";
  return `${number(record.values[name])}${spread} ${record.units[name] ?? ""}${record.open.includes(name) ? " (open)" : ""}`.trim();
}

function compare(records, names, objectives) {
  const those = [...chosen].map((id) => records.get(id)).filter(Boolean);
  at("compare").hidden = !those.length;
  if (!those.length) return;
  const head = element("tr", {}, element("th", { class: "text", scope: "col" }, ""), ...those.map((r) => element("th", { scope: "col" }, r.id)));
  const row = (name, texts, best) => element("tr", {}, element("th", { class: "text", scope: "row" }, name),
    ...texts.map((text, i) => element("td", { class: i === best ? "best" : new Set(texts).size > 1 ? "differs" : "" }, text)));
  const figures = names.map((name) => {
    const objective = objectives.find((o) => o.name === name);
    const values = those.map((r) => (objective && name in r.values ? loss(objective, r) : Infinity));
    const least = Math.min(...values);
    return row(name, those.map((r) => value(r, name)), objective && those.length > 1 && least < Infinity ? values.indexOf(least) : -1);
  });
  const choices = [...new Set(those.flatMap((r) => Object.keys(r.candidate)))].map((name) => row(name, those.map((r) => (name in r.candidate ? JSON.stringify(r.candidate[name]) : "–"))));
  at("pairs").replaceChildren(element("thead", {}, head), element("tbody", {}, row("status", those.map((r) => r.reason || r.status)), ...figures, ...choices));
}

function table(shown, best, names, objectives) {
  const which = at("which").value;
  let rows = shown.filter((r) => (which === "front" ? best.has(r.id) : which === "all" || r.status === which));
  const key = sorting?.name ?? objectives[0]?.name, turn = sorting?.turn ?? (objectives[0]?.direction === "max" ? -1 : 1);
  const size = (r) => (key in r.values ? turn * r.values[key] : Infinity);
  rows.sort((a, b) => size(a) - size(b) || 0);
  const columns = [...objectives.map((o) => o.name), ...names.filter((name) => !objectives.some((o) => o.name === name))];
  const head = element("tr", {}, element("th", { class: "text", scope: "col" }, "compare"), element("th", { class: "text", scope: "col" }, "id"), element("th", { class: "text", scope: "col" }, "status"),
    ...columns.map((name) => element("th", { scope: "col", "aria-sort": name === key ? (turn > 0 ? "ascending" : "descending") : "none" },
      element("button", { type: "button", onclick: () => { sorting = { name, turn: name === key ? -turn : 1 }; draw(); } }, `${name}${name === key ? (turn > 0 ? " ↑" : " ↓") : ""}`))),
    element("th", { class: "text", scope: "col" }, "reason"));
  const focused = document.activeElement?.dataset?.record;
  const body = rows.slice(0, MOST_ROWS).map((r) => element("tr", { class: chosen.has(r.id) ? "chosen" : "" },
    element("td", { class: "text" }, element("input", { type: "checkbox", checked: chosen.has(r.id), "data-record": r.id, "aria-label": `compare ${r.id}`, onchange: () => toggle(r) })),
    element("td", { class: "text" }, element("code", {}, r.id)), element("td", { class: "text" }, r.status),
    ...columns.map((name) => element("td", {}, value(r, name))), element("td", { class: "text reason" }, r.reason)));
  at("table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
  if (focused) at("table").querySelector(`[data-record="${CSS.escape(focused)}"]`)?.focus();
  at("more").textContent = rows.length > MOST_ROWS ? `${rows.length - MOST_ROWS} more; filters show them` : rows.length ? "" : "None.";
}

function failures(all) {
  const counts = new Map();
  for (const r of all) if (r.status === "failed") counts.set(r.reason, [...(counts.get(r.reason) ?? []), r.id]);
  const items = [...counts].sort((a, b) => b[1].length - a[1].length).slice(0, 50)
    .map(([reason, ids]) => element("li", {}, `${ids.length} × ${reason} `, element("code", {}, ids.slice(0, 5).join(" "))));
  at("failures").replaceChildren(items.length ? element("ul", {}, ...items) : element("p", { class: "quiet" }, "None so far."));
}

function pending(about) {
  const items = about.pending.slice(0, 16).map((c) => element("li", {}, element("code", {}, Object.entries(c).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(" "))));
  const rest = about.waiting - items.length;
  at("pending").replaceChildren(items.length ? element("ul", {}, ...items) : element("p", { class: "quiet" }, "Nothing: the search is done, or has not asked yet."),
    rest > 0 ? element("p", { class: "quiet" }, `and ${rest} more`) : "");
}

// -- what people do --------------------------------------------------------------------------------------------------

function open(number) {
  Object.assign(seen, { open: number, study: empty() });
  chosen.clear(); bounds.clear(); sorting = null;
  for (const id of ["bounds", "x", "y"]) delete at(id).dataset.names;
  [...at("studies").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
  history.replaceState(null, "", `#${number}`);
  follow();
}

for (const id of ["x", "y", "which"]) at(id).addEventListener("change", draw);
at("clear").addEventListener("click", () => { bounds.clear(); delete at("bounds").dataset.names; draw(); });
at("none").addEventListener("click", () => { chosen.clear(); draw(); });
addEventListener("resize", () => { if (seen.study?.about) draw(); });

seen.names = await (await fetch("api/studies")).json();
if (seen.names.length > 1) {
  at("studies").append(...seen.names.map((name, i) => element("button", { type: "button", "aria-pressed": "false", onclick: () => open(i) }, name)));
}
const asked = Number(location.hash.slice(1));
open(asked > 0 && asked < seen.names.length ? asked : 0);
listen();
