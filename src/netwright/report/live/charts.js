// Charts as SVG: they take figures and draw, and know of no study.

const SVG = "http://www.w3.org/2000/svg";
const REACH = 12; // pixels from a point at which a pointer means it

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function number(value, digits = 4) {
  if (typeof value !== "number") return String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e12, " T"], [1e9, " G"], [1e6, " M"], [1e4, " k"]]) {
    const scale = letter === " k" ? 1e3 : unit;
    if (size >= unit) return `${Number((value / scale).toPrecision(digits))}${letter}`;
  }
  return size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  if (low === high) { const pad = Math.abs(low) * 0.05 || 1; return [low - pad, high + pad]; }
  const pad = (high - low) * 0.05;
  return [low - pad, high + pad];
}

function frame(place, height, xs, ys, titles) {
  const width = Math.max(280, place.clientWidth), left = 62, right = 14, top = 10, bottom = 42;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": titles.label });
  const [x0, x1] = extent(xs), [y0, y1] = extent(ys);
  const x = (value) => left + ((value - x0) / (x1 - x0)) * (width - left - right);
  const y = (value) => height - bottom - ((value - y0) / (y1 - y0)) * (height - top - bottom);
  for (const at of ticks(x0, x1, Math.max(3, Math.floor(width / 110)))) {
    svg.append(shape("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: height - bottom }));
    svg.append(shape("text", { x: x(at), y: height - bottom + 16, "text-anchor": "middle" }, number(at)));
  }
  for (const at of ticks(y0, y1, 5)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }));
    svg.append(shape("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end" }, number(at)));
  }
  svg.append(shape("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, titles.x));
  svg.append(shape("text", { x: 4, y: 4, "text-anchor": "start", dy: "0.3em" }, titles.y));
  return { svg, x, y, width };
}

function show(place, svg) {
  place.replaceChildren(svg);
}

// points: {x, y, kind, chosen, place}; line: points that are joined; label: the text of a place. Points of the front and
// chosen ones are drawn one by one, the others of a kind at once: thousands of shapes would take tens of megabytes.
export function scatter(where, points, line, titles, choose, label) {
  if (!points.length) { where.textContent = "Nothing to show yet."; return; }
  const { svg, x, y, width } = frame(where, 340, points.map((p) => p.x), points.map((p) => p.y), titles);
  const clouds = new Map(), dots = [];
  for (const point of points) {
    const at = { cx: x(point.x).toFixed(1), cy: y(point.y).toFixed(1) };
    if (point.kind === "front" || point.chosen) {
      dots.push(shape("circle", { class: `dot ${point.kind}${point.chosen ? " chosen" : ""}`, ...at, r: point.kind === "front" ? 5 : 3.4 }));
    } else clouds.set(point.kind, `${clouds.get(point.kind) ?? ""}M${at.cx} ${at.cy}h0`);
  }
  for (const [kind, path] of clouds) svg.append(shape("path", { class: `cloud ${kind}`, d: path }));
  if (line.length > 1) svg.append(shape("polyline", { class: "step", points: line.map((p) => `${x(p.x)},${y(p.y)}`).join(" ") }));
  svg.append(...dots);
  const tip = element("div", { class: "tip", hidden: true });
  const nearest = (event) => {
    const box = svg.getBoundingClientRect(), scale = box.width / width;
    let found = null, least = REACH;
    for (const point of points) {
      const apart = Math.hypot(x(point.x) * scale - event.clientX + box.left, y(point.y) * scale - event.clientY + box.top);
      if (apart < least || (apart === least && point.kind === "front")) [found, least] = [point, apart];
    }
    return found;
  };
  svg.addEventListener("click", (event) => { const point = nearest(event); if (point) choose(point.place); });
  svg.addEventListener("pointermove", (event) => {
    const point = nearest(event);
    svg.classList.toggle("near", Boolean(point));
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = label(point.place);
    const scale = where.clientWidth / width;
    tip.style.left = `${Math.max(0, Math.min(x(point.x) * scale + 12, where.clientWidth - 270))}px`;
    tip.style.top = `${y(point.y) * scale + 12}px`;
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  where.replaceChildren(svg, tip);
}

export function curve(place, points, titles) {
  if (points.length < 2) { place.textContent = "Nothing to show yet."; return; }
  const { svg, x, y } = frame(place, 340, points.map((p) => p.x), points.map((p) => p.y), titles);
  svg.append(shape("polyline", { class: "step", points: points.map((p) => `${x(p.x)},${y(p.y)}`).join(" ") }));
  const last = points[points.length - 1];
  svg.append(shape("circle", { class: "dot front", cx: x(last.x), cy: y(last.y), r: 5 }));
  show(place, svg);
}

// axes: {name, options or null}; threads: {values: {axis: value}, chosen}.
export function parallel(place, axes, threads, label) {
  if (!threads.length) { place.textContent = "Nothing to show yet."; return; }
  const top = 26, height = 300, bottom = 30, sides = 30 + 56, step = Math.max(74, (place.clientWidth - sides) / Math.max(1, axes.length - 1));
  const width = Math.max(place.clientWidth, sides + step * (axes.length - 1));
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.style.width = `${width}px`;
  const places = axes.map((axis, i) => {
    const at = 30 + i * step;
    const mark = (y, text) => svg.append(shape("text", { x: at + 4, y: y + 4 }, text));
    let where;
    if (axis.options) {
      const texts = axis.options.map((option) => JSON.stringify(option)), last = Math.max(1, texts.length - 1);
      where = (value) => { const i = texts.indexOf(JSON.stringify(value)); return i < 0 ? null : height - bottom - (i / last) * (height - top - bottom); };
      mark(top, texts[texts.length - 1].slice(0, 10));
      mark(height - bottom, texts[0].slice(0, 10));
    } else {
      const [low, high] = extent(threads.map((t) => t.values[axis.name]).filter((v) => typeof v === "number"));
      where = (value) => (typeof value === "number" ? height - bottom - ((value - low) / (high - low)) * (height - top - bottom) : null);
      mark(top, number(high, 3));
      mark(height - bottom, number(low, 3));
    }
    svg.append(shape("line", { class: "grid", x1: at, x2: at, y1: top, y2: height - bottom }));
    const name = axis.name.length > 12 ? `…${axis.name.slice(-11)}` : axis.name;
    const title = shape("text", { x: at, y: i % 2 ? height - 4 : 12, "text-anchor": i ? "middle" : "start" }, name);
    title.append(shape("title", {}, axis.name));
    svg.append(title);
    return (thread) => [at, where(thread.values[axis.name])];
  });
  for (const thread of [...threads].sort((a, b) => a.chosen - b.chosen)) {
    const points = places.map((at) => at(thread)).filter(([, y]) => y !== null);
    svg.append(shape("polyline", { class: `thread${thread.chosen ? " chosen" : ""}`, points: points.map((p) => p.join(",")).join(" ") }));
  }
  show(place, svg);
}
