// Many agents as a heat map, without a page: which cell shows which agents, and what it says of them. A block is the
// agents of one supervisor. One with more than its room holds a window: cells of `per` agents each, from its first agent
// or, zoomed in, the page on which the agent `at` stands. Pages stay where they are: a cell means the same agents until
// the next zoom.

const NICE = [1, 2, 5], ZOOMS = 24; // agents a cell: 1, 2, 5, 10, 20, 50 ...
const TO_WORSE = ["running", "busy", "waiting", "starting", "stopped", "suspended", "backing_off", "parked"];
const TROUBLE = TO_WORSE.indexOf("backing_off"); // from here on somebody has to look
const CALM = TO_WORSE.indexOf("starting"); // up to here all is well
const SHADES = 4; // how full a cell can be of its worst status

const perAt = (zoom) => NICE[zoom % 3] * 10 ** Math.floor(zoom / 3);

// By the byte of a status, how bad it is; -1 of one that is gone. A status that is not known may be anything.
function ranksOf(state) {
  const ranks = new Int8Array(16).fill(TROUBLE - 1);
  state.statuses.forEach(([name], byte) => { ranks[byte] = TO_WORSE.includes(name) ? TO_WORSE.indexOf(name) : TROUBLE - 1; });
  ranks[GONE] = -1;
  return ranks;
}

// The coarsest cells that a block needs: all its agents fit into its room.
function coarsest(n, room) {
  let zoom = 0;
  while (zoom < ZOOMS && Math.ceil(n / perAt(zoom)) > room) zoom += 1;
  return zoom;
}

// What is shown: agents a cell, the first agent and how many cells.
function pageOf(n, room, { zoom = ZOOMS, at = 0 } = {}) {
  const top = coarsest(n, room), now = Math.max(0, Math.min(zoom, top)), per = perAt(now), span = per * room;
  const from = now === top ? 0 : Math.floor(Math.max(0, Math.min(at, n - 1)) / span) * span;
  return { zoom: now, top, per, from, to: Math.min(n, from + span), cells: Math.ceil((Math.min(n, from + span) - from) / per) };
}

// Of each cell a number that says how it looks: the byte of the worst status and, of several agents, how full it is of it.
function shadesOf(state, ranks, agents, { per, from, to, cells }) {
  const { looks } = state, shades = new Uint16Array(cells);
  for (let cell = 0, first = from; cell < cells; cell++, first += per) {
    if (per === 1) { shades[cell] = looks[agents[first]] & ~SUPERVISOR; continue; }
    const end = Math.min(first + per, to);
    let worst = -1, byte = GONE, bad = 0, all = 0;
    for (let i = first; i < end; i++) {
      const now = looks[agents[i]] & STATUS, rank = ranks[now];
      if (rank < 0) continue;
      all += 1;
      if (rank > worst) { worst = rank; byte = now; bad = 0; }
      if (now === byte) bad += 1;
    }
    shades[cell] = byte === GONE ? GONE : byte | (1 + Math.min(SHADES - 1, Math.floor((SHADES * bad) / all)) << 8);
  }
  return shades;
}

// The worst agent of some; the first of them where several are as bad.
function worstOf(state, ranks, agents, from, to) {
  let best = -1, worst = -1;
  for (let i = from; i < to && worst < TO_WORSE.length; i++) {
    const rank = ranks[state.looks[agents[i]] & STATUS];
    if (rank > worst) { worst = rank; best = i; }
  }
  return best;
}

function countsOf(state, agents, from = 0, to = agents.length) {
  const counts = new Uint32Array(16);
  for (let i = from; i < to; i++) counts[state.looks[agents[i]] & STATUS] += 1;
  counts[GONE] = 0;
  return counts;
}

const counted = (state, counts) => Array.from(counts, (n, byte) => (n ? `${count(n)} ${words(state.statuses[byte]?.[0] ?? "unknown")}` : ""))
  .filter(Boolean).join(", ");

// The next place in trouble after a place in the order of the tree, or before it; from the other end if there is none.
function nextTrouble(state, way) {
  const ranks = ranksOf(state), { order } = state, n = order.length;
  let at = order.indexOf(state.selected);
  if (at < 0 && way < 0) at = 0;
  for (let i = 1; i <= n; i++) {
    const slot = order[(((at + way * i) % n) + n) % n];
    if (ranks[state.looks[slot] & STATUS] >= TROUBLE) return slot;
  }
  return -1;
}

// The whole tree from top to bottom in so many stripes: the worst of each, and whether it is bad.
function stripesOf(state, stripes) {
  const ranks = ranksOf(state), { order, looks } = state, worst = new Int8Array(stripes).fill(-1), bytes = new Uint8Array(stripes).fill(GONE);
  for (let i = 0; i < order.length; i++) {
    const byte = looks[order[i]] & STATUS, stripe = Math.floor((i * stripes) / order.length);
    if (ranks[byte] > worst[stripe]) { worst[stripe] = ranks[byte]; bytes[stripe] = byte; }
  }
  return { worst, bytes };
}

// The worst place of a stripe.
function inStripe(state, stripe, stripes) {
  const n = state.order.length, from = Math.ceil((stripe * n) / stripes), to = Math.max(from + 1, Math.ceil(((stripe + 1) * n) / stripes));
  return state.order[worstOf(state, ranksOf(state), state.order, from, Math.min(to, n))] ?? -1;
}

// Where a slot stands among those of its supervisor, which are in the order of their slots.
function placeOf(agents, slot) {
  let low = 0, high = agents.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (agents[middle] < slot) low = middle + 1; else high = middle;
  }
  return agents[low] === slot ? low : -1;
}
