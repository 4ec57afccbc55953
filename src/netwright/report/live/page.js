// The live page: follows a study by what is new, and draws it.

import { curve, element, number, parallel, scatter } from "./charts.js";
import { Study } from "./study.js";

const MOST_DOTS = 3000, MOST_ROWS = 200, MOST_THREADS = 120, MOST_CHOSEN = 4;
const at = (id) => document.getElementById(id);
const bounds = new Map();
let names = [], study = null, chosen = [], seen = null, sorting = null, again = false, busy = false;

// -- what is known ---------------------------------------------------------------------------------------------------

async function follow() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      const open = study;
      if (await open.follow()) chosen = [];
      if (open === study) await draw();
    } while (again);
  } catch (error) {
    say(`not connected: ${error.message}`);
  } finally { busy = false; }
}

function listen() {
  const source = new EventSource("api/events");
  source.onmessage = (event) => { if (JSON.parse(event.data).includes(study.number)) follow(); };
  source.onerror = () => say("not connected; trying again");
}

function say(text) { at("said").textContent = text; }

// What is within the bounds, and its front: found once for what is known and what is asked for.
function look() {
  const key = JSON.stringify([study.number, study.epoch, study.count, [...bounds]]);
  if (seen?.key !== key) {
    const shown = study.within(bounds), { front, growth } = study.front(shown);
    seen = { key, shown, front, growth, best: new Set(front), counts: study.counts() };
  }
  return seen;
}

// -- what is shown ---------------------------------------------------------------------------------------------------

// Draws what is known, and once more what names single networks as soon as these are.
async function draw() {
  if (!study?.about) return;
  const open = study, { about } = study, { growth } = look();
  at("name").textContent = about.name;
  document.title = `${about.count} · ${about.name}`;
  at("problem").hidden = !about.problem && !about.unreadable;
  at("problem").textContent = about.problem || `${about.unreadable} entries cannot be read; netwright repair writes a study without them`;
  say(`${about.count} networks · ${about.limits.length ? `limits: ${about.limits.join(", ")}` : "no limits"} · ${new Date().toLocaleTimeString()}`);
  tiles();
  filters();
  axes();
  drawScatter();
  curve(at("volume"), growth, { x: "networks measured", y: "share", label: "Hypervolume of the front as networks were measured" });
  failures();
  pending();
  const rows = drawNetworks();
  if (await open.know([...new Set([...chosen, ...rows, ...threadPlaces()])]) && open === study) drawNetworks();
}

function drawNetworks() {
  threads();
  compare();
  return table();
}

function left() {
  const { about } = study;
  if (!about.wanted) return ["–", "time left is not known"];
  const open = about.wanted - about.count;
  if (open <= 0) return ["done", "all are measured"];
  const times = about.times.filter((t) => typeof t === "number").sort((a, b) => a - b);
  if (times.length < 3) return ["–", "time left is not known yet"];
  const seconds = (open * (times[times.length - 1] - times[0])) / (times.length - 1);
  const text = seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  const idle = Date.now() / 1000 - times[times.length - 1];
  return [text, idle > 600 ? `left, if it goes on; the last began ${Math.round(idle / 60)} min ago` : "left, about"];
}

function tiles() {
  const { about } = study, { counts, front, growth } = look();
  const done = element("div", { class: "tile" }, element("b", {}, about.wanted ? `${about.count} / ${about.wanted}` : `${about.count}`), element("span", {}, "measured"));
  if (about.wanted) done.append(element("progress", { value: about.count, max: about.wanted, "aria-label": "measured" }));
  const tile = (value, text) => element("div", { class: "tile" }, element("b", {}, String(value)), element("span", {}, text));
  const share = growth.length ? `${(100 * growth[growth.length - 1].y).toFixed(1)} %` : "–";
  at("tiles").replaceChildren(done, tile(...left()), tile(front.length, "on the front"), tile(share, "hypervolume"), tile(counts.infeasible, "beyond a limit"), tile(counts.failed, "failed"));
}

function filters() {
  at("filtered").textContent = bounds.size ? `${look().shown.length} of ${study.count} are shown` : "";
  const place = at("bounds");
  if (place.dataset.names === study.names.join()) return;
  place.dataset.names = study.names.join();
  place.replaceChildren(...study.names.map((name) => {
    const given = bounds.get(name) ?? [null, null];
    const input = (i, text) => element("input", { type: "number", step: "any", placeholder: text, "aria-label": `${name}, ${text}`, value: given[i],
      oninput: (event) => {
        const pair = [...(bounds.get(name) ?? [null, null])];
        pair[i] = event.target.value === "" ? null : Number(event.target.value);
        if (pair[0] === null && pair[1] === null) bounds.delete(name); else bounds.set(name, pair);
        draw();
      } });
    return element("label", {}, element("span", { title: name }, `${name} ${study.unit(name)}`), input(0, "least"), input(1, "most"));
  }));
}

function axes() {
  const { objectives } = study.about;
  ["x", "y"].forEach((id, i) => {
    const select = at(id);
    if (select.dataset.names === study.names.join()) return;
    const before = select.value, first = objectives[1 - i] ?? objectives[0];
    select.dataset.names = study.names.join();
    select.replaceChildren(...study.names.map((name) => element("option", { value: name }, name)));
    select.value = study.names.includes(before) ? before : first && study.names.includes(first.name) ? first.name : study.names[i] ?? "";
  });
}

function label(place) {
  const known = study.details.get(place), figures = study.names.filter((name) => !Number.isNaN(study.value(place, name)));
  return [known?.id, ...figures.map((name) => `${name} ${number(study.value(place, name))} ${study.unit(name)}`), known?.reason].filter(Boolean).join("\n");
}

// At most so many of a list, evenly.
function thinned(list, most) {
  const every = Math.ceil(list.length / most);
  return every > 1 ? list.filter((_, i) => i % every === 0) : list;
}

function drawScatter() {
  const { shown, front, best } = look(), x = at("x").value, y = at("y").value, { objectives } = study.about;
  const point = (place, kind) => ({ x: study.value(place, x), y: study.value(place, y), kind, place, chosen: chosen.includes(place) });
  const isDrawn = (place) => !Number.isNaN(study.value(place, x) + study.value(place, y));
  const usable = shown.filter((place) => study.status(place) !== "failed" && !best.has(place) && isDrawn(place));
  const cloud = thinned(usable, MOST_DOTS), top = thinned(front.filter(isDrawn), MOST_DOTS);
  for (const place of chosen) if (isDrawn(place) && !cloud.includes(place) && !top.includes(place)) cloud.push(place);
  const line = top.map((place) => point(place, "front")).sort((a, b) => a.x - b.x);
  const two = objectives.length === 2 && objectives.every((o) => o.name === x || o.name === y);
  const dots = [...cloud.map((place) => point(place, study.status(place))), ...line];
  scatter(at("scatter"), dots, two ? line : [],
    { x: `${x} ${study.unit(x)}`, y: `${y} ${study.unit(y)}`, label: `${y} against ${x} of ${usable.length + front.length} networks` }, toggle, label);
  at("thinned").textContent = cloud.length < usable.length
    ? `The front is whole; of the ${usable.length} others ${cloud.length} are drawn, evenly by time: all else on this page counts all. ` : "";
}

function threadPlaces() {
  return [...new Set([...look().front.slice(-MOST_THREADS), ...chosen])];
}

function threads() {
  const known = threadPlaces().filter((place) => study.details.has(place));
  const values = (place) => Object.fromEntries(study.names.map((name) => [name, study.value(place, name)]).filter(([, v]) => !Number.isNaN(v)));
  const lines = known.map((place) => ({ values: { ...study.details.get(place).candidate, ...values(place) }, chosen: chosen.includes(place) ? 1 : 0 }));
  const options = Object.entries(study.about.choices).map(([name, values]) => ({ name, options: values }));
  const figures = study.names.filter((name) => lines.some((line) => name in line.values)).map((name) => ({ name, options: null }));
  parallel(at("parallel"), [...options, ...figures], lines, "Choices and figures of the networks on the front");
}

function toggle(place) {
  chosen = chosen.includes(place) ? chosen.filter((other) => other !== place) : [...chosen, place].slice(-MOST_CHOSEN);
  draw();
}

function value(place, name) {
  const found = study.value(place, name), known = study.details.get(place);
  if (Number.isNaN(found)) return "";
  const spread = known?.ci95[name] ? ` ± ${number(known.ci95[name], 2)}` : "";
  return `${number(found)}${spread} ${study.unit(name)}${known?.open.includes(name) ? " (open)" : ""}`.trim();
}

// The bundle of a network: to be downloaded where it was exported, else the command that does it.
function bundle(id) {
  const { bundles, export: command } = study.about;
  if (id in bundles) {
    return element("span", {}, element("a", { href: `api/studies/${study.number}/bundles/${id}.zip`, download: `${id}.zip` }, "Download the bundle"), ` ${bundles[id]}`);
  }
  if (!command) return element("span", { class: "quiet" }, "–");
  const text = `${command} ${id}`;
  const copy = element("button", { type: "button", onclick: async () => {
    try { await navigator.clipboard.writeText(text); copy.textContent = "Copied"; } catch { getSelection().selectAllChildren(code); copy.textContent = "Selected"; }
  } }, "Copy");
  const code = element("code", {}, text);
  return element("span", { class: "command" }, code, " ", copy);
}

function compare() {
  const { objectives } = study.about, those = chosen.filter((place) => study.details.has(place));
  at("compare").hidden = !those.length;
  if (!those.length) { at("pairs").replaceChildren(); return; }
  const known = those.map((place) => study.details.get(place));
  const head = element("tr", {}, element("th", { class: "text", scope: "col" }, ""), ...known.map((r) => element("th", { scope: "col" }, r.id)));
  const row = (name, texts, best) => element("tr", {}, element("th", { class: "text", scope: "row" }, name),
    ...texts.map((text, i) => element("td", { class: i === best ? "best" : new Set(texts).size > 1 ? "differs" : "" }, text)));
  const figures = study.names.map((name) => {
    const objective = objectives.find((o) => o.name === name);
    const losses = those.map((place) => (objective?.direction === "max" ? -1 : 1) * study.value(place, name)).map((x) => (Number.isNaN(x) ? Infinity : x));
    const least = Math.min(...losses);
    return row(name, those.map((place) => value(place, name)), objective && those.length > 1 && least < Infinity ? losses.indexOf(least) : -1);
  });
  const choices = [...new Set(known.flatMap((r) => Object.keys(r.candidate)))].map((name) => row(name, known.map((r) => (name in r.candidate ? JSON.stringify(r.candidate[name]) : "–"))));
  const files = element("tr", {}, element("th", { class: "text", scope: "row" }, "bundle"), ...known.map((r) => element("td", {}, bundle(r.id))));
  at("pairs").replaceChildren(element("thead", {}, head), element("tbody", {}, files, row("status", known.map((r) => r.reason || r.status)), ...figures, ...choices));
}

function table() {
  const { shown, front } = look(), { objectives } = study.about, which = at("which").value;
  const isWanted = { all: () => true, infeasible: (p) => study.status(p) === "infeasible", failed: (p) => study.status(p) === "failed" };
  const places = which === "front" ? [...front] : shown.filter(isWanted[which]);
  const key = sorting?.name ?? objectives[0]?.name, turn = sorting?.turn ?? (objectives[0]?.direction === "max" ? -1 : 1);
  const sizes = new Map(places.map((place) => [place, turn * study.value(place, key)]));
  const size = (place) => (Number.isNaN(sizes.get(place)) ? Infinity : sizes.get(place));
  places.sort((a, b) => (size(a) === size(b) ? a - b : size(a) - size(b)));
  const columns = [...objectives.map((o) => o.name), ...study.names.filter((name) => !objectives.some((o) => o.name === name))];
  const head = element("tr", {}, element("th", { class: "text", scope: "col" }, "compare"), element("th", { class: "text", scope: "col" }, "id"), element("th", { class: "text", scope: "col" }, "status"),
    ...columns.map((name) => element("th", { scope: "col", "aria-sort": name === key ? (turn > 0 ? "ascending" : "descending") : "none" },
      element("button", { type: "button", onclick: () => { sorting = { name, turn: name === key ? -turn : 1 }; draw(); } }, `${name}${name === key ? (turn > 0 ? " ↑" : " ↓") : ""}`))),
    element("th", { class: "text", scope: "col" }, "reason"));
  const focused = document.activeElement?.dataset?.place, rows = places.slice(0, MOST_ROWS);
  const body = rows.map((place) => {
    const known = study.details.get(place), isChosen = chosen.includes(place);
    return element("tr", { class: isChosen ? "chosen" : "" },
      element("td", { class: "text" }, element("input", { type: "checkbox", checked: isChosen, "data-place": place, "aria-label": `compare ${known?.id ?? place}`, onchange: () => toggle(place) })),
      element("td", { class: "text" }, element("code", {}, known?.id ?? "")), element("td", { class: "text" }, known?.status ?? ""),
      ...columns.map((name) => element("td", {}, value(place, name))), element("td", { class: "text reason" }, known?.reason ?? ""));
  });
  at("table").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
  if (focused) at("table").querySelector(`[data-place="${focused}"]`)?.focus();
  at("more").textContent = places.length > MOST_ROWS ? `${places.length - MOST_ROWS} more; filters show them` : places.length ? "" : "None.";
  return rows;
}

function failures() {
  const items = study.about.failures.map(({ reason, count, ids }) => element("li", {}, `${count} × ${reason} `, element("code", {}, ids.join(" "))));
  at("failures").replaceChildren(items.length ? element("ul", {}, ...items) : element("p", { class: "quiet" }, "None so far."));
}

function pending() {
  const { about } = study;
  const items = about.pending.slice(0, 16).map(({ candidate, by }, i) => {
    const text = Object.entries(candidate).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(" ");
    const who = by || (i < (about.workers ?? 0) ? "now" : "next");
    return element("li", {}, element("span", { class: "who" }, who), element("code", {}, text));
  });
  const rest = about.waiting - items.length;
  at("pending").replaceChildren(items.length ? element("ul", { class: "plain" }, ...items) : element("p", { class: "quiet" }, "Nothing: the search is done, or has not asked yet."),
    rest > 0 ? element("p", { class: "quiet" }, `and ${rest} more`) : "");
}

// -- what people do --------------------------------------------------------------------------------------------------

function open(number) {
  study = new Study(number);
  chosen = []; seen = null; sorting = null;
  bounds.clear();
  for (const id of ["bounds", "x", "y"]) delete at(id).dataset.names;
  [...at("studies").children].forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
  history.replaceState(null, "", `#${number}`);
  follow();
}

for (const id of ["x", "y", "which"]) at(id).addEventListener("change", draw);
at("clear").addEventListener("click", () => { bounds.clear(); delete at("bounds").dataset.names; draw(); });
at("none").addEventListener("click", () => { chosen = []; draw(); });
addEventListener("resize", draw);

names = await (await fetch("api/studies")).json();
if (names.length > 1) {
  at("studies").append(...names.map((name, i) => element("button", { type: "button", "aria-pressed": "false", onclick: () => open(i) }, name)));
}
const asked = Number(location.hash.slice(1));
open(asked > 0 && asked < names.length ? asked : 0);
listen();
