// A span of time that is brushed on bars (bars.js): by the pointer, or by two handles and the keyboard.

/**
 * Which bars a span covers: the first, and the one after the last; all of them if there is none.
 * @param {number[] | null} span  seconds since 1970
 * @param {{from: number, width: number, heights: number[][]}} part
 */
function edgesOf(span, part) {
  const n = part.heights[0].length, at = (second) => Math.min(n, Math.max(0, (second - part.from) / part.width));
  return span ? [Math.floor(at(span[0])), Math.ceil(at(span[1]))] : [0, n];
}

/**
 * The span of some bars, in seconds since 1970; null if these are all.
 * @param {number} first @param {number} last
 * @param {{from: number, width: number, heights: number[][]}} part
 */
function spanOf(first, last, part) {
  const n = part.heights[0].length;
  return first <= 0 && last >= n ? null : [part.from + Math.max(0, first) * part.width, part.from + Math.min(n, last) * part.width];
}

/**
 * Where a key moves one edge to; undefined if it is none of its keys. A span keeps one bar at least.
 * @param {number[]} edges @param {number} which @param {string} key @param {number} n
 */
function edgeMoved([first, last], which, key, n) {
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[key];
  const to = by ? (which ? last : first) + by : { Home: 0, End: n }[key];
  if (to === undefined) return undefined;
  return which ? [first, Math.min(n, Math.max(first + 1, to))] : [Math.max(0, Math.min(last - 1, to)), last];
}

/** @param {(span: number[] | null) => void} choose */
function brush(choose) {
  const node = make("div", "al-brush"), shade = make("div", "al-brushed"), handles = ["from", "to"].map(handle);
  let part = { from: 0, width: 1, heights: [[0]] }, edges = [0, 1], held = false;
  node.append(shade, ...handles);
  node.title = "drag over a span of time: all charts show only that; Escape shows everything again";
  const n = () => part.heights[0].length;
  const set = (next) => { edges = next; paint(); };
  function handle(name, which) {
    const knob = make("div", "al-handle");
    knob.tabIndex = 0;
    knob.setAttribute("role", "slider");
    knob.setAttribute("aria-label", name);
    knob.addEventListener("keydown", (event) => {
      const next = event.key === "Escape" ? [0, n()] : edgeMoved(edges, which, event.key, n());
      if (!next) return;
      event.preventDefault();
      event.stopPropagation();
      set(next);
      choose(spanOf(next[0], next[1], part));
    });
    return knob;
  }
  function paint() {
    shade.style.left = `${(100 * edges[0]) / n()}%`;
    shade.style.width = `${(100 * (edges[1] - edges[0])) / n()}%`;
    shade.hidden = edges[0] === 0 && edges[1] === n();
    handles.forEach((knob, which) => {
      knob.style.left = `${(100 * edges[which]) / n()}%`;
      knob.setAttribute("aria-valuemin", "0");
      knob.setAttribute("aria-valuemax", String(n()));
      knob.setAttribute("aria-valuenow", String(edges[which]));
      knob.setAttribute("aria-valuetext", clockTime((part.from + edges[which] * part.width) * 1000));
    });
  }
  node.addEventListener("pointerdown", (event) => {
    const box = node.getBoundingClientRect();
    const at = (clientX) => Math.min(n() - 1, Math.max(0, Math.floor((n() * (clientX - box.left)) / box.width)));
    const knob = handles.indexOf(/** @type {HTMLDivElement} */ (event.target)), begun = at(event.clientX);
    const fixed = knob < 0 ? begun : knob ? edges[0] : edges[1] - 1;
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    held = true;
    const move = ({ clientX }) => set([Math.min(fixed, at(clientX)), Math.max(fixed, at(clientX)) + 1]);
    if (knob < 0) move(event);
    node.addEventListener("pointermove", move);
    node.addEventListener("lostpointercapture", () => {
      node.removeEventListener("pointermove", move);
      held = false;
      choose(spanOf(edges[0], edges[1], part));
    }, { once: true });
  });
  node.addEventListener("dblclick", () => { set([0, n()]); choose(null); });
  return { node, update(bars, span) { part = bars; if (!held) set(edgesOf(span, bars)); } };
}
