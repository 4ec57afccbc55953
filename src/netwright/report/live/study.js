// A study as the page knows it: the figures of all records as an array of numbers, and single records when they are asked for.

const STATUSES = ["whole", "partial", "infeasible", "failed"];
const AT_ONCE = 200, MOMENTS = 48, MOST_WORK = 2e7;

export class Study {
  constructor(number) {
    Object.assign(this, { number, epoch: "", count: 0, width: 1, names: [], figures: new Float64Array(0), about: null, details: new Map() });
  }

  // Know what is new; whether records have other places than before.
  async follow() {
    for (;;) {
      const told = await asked(`api/studies/${this.number}`), about = await told.json();
      const before = this.epoch, moved = before !== "" && session(before) !== session(about.epoch);
      if (about.epoch !== before) {
        Object.assign(this, { epoch: about.epoch, count: 0, names: about.metrics.map((m) => m.name), details: new Map() });
        this.width = 1 + this.names.length;
      }
      if (this.count < about.count && !(await this.read())) continue;
      this.about = about;
      return moved;
    }
  }

  // Read the figures of new records; whether they are still of the same epoch.
  async read() {
    const told = await asked(`api/studies/${this.number}/figures?since=${this.count}`);
    const content = await told.arrayBuffer();
    if (told.headers.get("x-epoch") !== this.epoch) return false;
    const size = this.count * this.width, more = new Float64Array(content);
    if (size) {
      const both = new Float64Array(size + more.length);
      both.set(this.figures.subarray(0, size));
      both.set(more, size);
      this.figures = both;
    } else this.figures = more;
    this.count = this.figures.length / this.width;
    return true;
  }

  // Have the records at places at hand; whether any is new here.
  async know(places) {
    const open = places.filter((place) => place < this.count && !this.details.has(place));
    for (let i = 0; i < open.length; i += AT_ONCE) {
      const told = await (await asked(`api/studies/${this.number}/records?places=${open.slice(i, i + AT_ONCE).join()}`)).json();
      if (told.epoch !== this.epoch) return false;
      for (const record of told.records) this.details.set(record.place, record);
    }
    return open.length > 0;
  }

  status(place) { return STATUSES[this.figures[place * this.width]]; }

  // NaN where there is none.
  value(place, name) {
    const at = this.names.indexOf(name);
    return at < 0 ? NaN : this.figures[place * this.width + 1 + at];
  }

  unit(name) { return this.about.metrics.find((m) => m.name === name)?.unit ?? ""; }

  counts() {
    const found = STATUSES.map(() => 0);
    for (let place = 0; place < this.count; place++) found[this.figures[place * this.width]]++;
    return Object.fromEntries(STATUSES.map((name, i) => [name, found[i]]));
  }

  // The places of records within bounds, name to [least, most].
  within(bounds) {
    const found = [], checked = [...bounds].map(([name, pair]) => [1 + this.names.indexOf(name), ...pair]);
    for (let place = 0; place < this.count; place++) {
      let isIn = true;
      for (const [at, low, high] of checked) {
        const value = at > 0 ? this.figures[place * this.width + at] : NaN;
        if ((low !== null && !(value >= low)) || (high !== null && !(value <= high))) { isIn = false; break; }
      }
      if (isIn) found.push(place);
    }
    return found;
  }

  // The front of some places, and how its hypervolume has grown: {x: records, y: share} at some moments.
  front(places) {
    const { objectives } = this.about, m = objectives.length;
    const columns = objectives.map((o) => 1 + this.names.indexOf(o.name)), signs = objectives.map((o) => (o.direction === "max" ? -1 : 1));
    const usable = columns.some((at) => at < 1) ? [] : places.filter((place) => this.figures[place * this.width] === 0);
    const losses = new Float64Array(usable.length * m);
    usable.forEach((place, i) => { for (let k = 0; k < m; k++) losses[i * m + k] = signs[k] * this.figures[place * this.width + columns[k]]; });
    const { front, found } = fronts(losses, m);
    return { front: front.map((i) => usable[i]), growth: volumes(losses, m, found) };
  }
}

async function asked(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

const session = (epoch) => epoch.split("-")[0];

// Of points with m losses each, one after the other in an array: whether point i dominates point j.
function dominates(losses, m, i, j) {
  let better = false;
  for (let k = 0; k < m; k++) {
    const a = losses[i * m + k], b = losses[j * m + k];
    if (a > b) return false;
    if (a < b) better = true;
  }
  return better;
}

// The front of points in the order of measuring, and fronts on the way to it: [point, front] at some moments.
function fronts(losses, m) {
  const number = m ? losses.length / m : 0, every = Math.max(1, Math.floor(number / MOMENTS)), found = [];
  let front = [];
  for (let i = 0; i < number; i++) {
    let by = 0;
    while (by < front.length && !dominates(losses, m, front[by], i)) by++;
    if (by === front.length) front = [...front.filter((other) => !dominates(losses, m, i, other)), i];
    else if (by) [front[by - 1], front[by]] = [front[by], front[by - 1]]; // who dominates many comes to be asked first
    if (i % every === 0 || (i & (i + 1)) === 0 || i === number - 1) found.push([i, [...front]]);
  }
  return { front: front.sort((a, b) => a - b), found };
}

function volumes(losses, m, found) {
  if (!found.length || m > 4) return [];
  const lows = Array(m).fill(Infinity), highs = Array(m).fill(-Infinity);
  losses.forEach((x, i) => { lows[i % m] = Math.min(lows[i % m], x); highs[i % m] = Math.max(highs[i % m], x); });
  const inBox = (i) => lows.map((low, k) => (highs[k] > low ? (losses[i * m + k] - low) / (highs[k] - low) : 0));
  // Of large fronts of three objectives and more fewer moments are looked at.
  const largest = Math.max(...found.map(([, front]) => front.length));
  const every = Math.ceil((found.length * largest ** (m - 1)) / MOST_WORK);
  return found.filter((_, k) => (found.length - 1 - k) % every === 0).map(([i, front]) => ({ x: i + 1, y: volume(front.map(inBox)) }));
}

// The volume that points in the unit cube dominate below (1, ..., 1), by slices along the last dimension.
function volume(points) {
  if (!points.length) return 0;
  const last = points[0].length - 1, sorted = [...points].sort((a, b) => a[last] - b[last]);
  if (!last) return 1 - sorted[0][0];
  let sum = 0, before = 1;
  for (let i = 0; i < sorted.length; i++) {
    const low = sorted[i][last], upper = i + 1 < sorted.length ? sorted[i + 1][last] : 1;
    if (last === 1) { before = Math.min(before, sorted[i][0]); sum += (upper - low) * (1 - before); continue; }
    if (upper > low) sum += (upper - low) * volume(sorted.slice(0, i + 1).map((p) => p.slice(0, last)));
  }
  return sum;
}
