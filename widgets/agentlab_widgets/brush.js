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
  /** @type {{from: number, width: number, heights: number[][], series?: any[]}} */
  let part = { from: 0, width: 1, heights: [[0]] };
  let edges = [0, 1], held = false;
  node.append(shade, ...handles);
  const help = "drag over a span of time: all charts show only that; Escape shows everything again";
  node.title = help;
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
  node.addEventListener("pointermove", ({ clientX }) => { // it lies over the bars, so it says what they would
    const box = node.getBoundingClientRect(), i = Math.min(n() - 1, Math.max(0, Math.floor((n() * (clientX - box.left)) / box.width)));
    node.title = part.series ? `${barsWords(part, i)}\n${help}` : help;
  });
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

/**
 * Bars that one can brush. They are drawn anew while somebody holds the brush, so it stays where it is.
 * @param {(span: number[] | null) => void} choose
 * @param {boolean} fades  whether bars outside the span are faint, and names say what is in it
 */
function brushedBars(choose, fades) {
  const node = make("div", "al-bars"), over = brush(choose);
  /** @type {HTMLElement | null} */
  let figure = null;
  return {
    node,
    update(part, span) {
      const fresh = chart(part, fades && span ? edgesOf(span, part) : undefined);
      if (!figure) {
        figure = fresh;
        node.append(fresh);
        fresh.querySelector(".al-plot")?.append(over.node);
      } else {
        for (const what of ["figcaption", "svg", ".al-axis"]) figure.querySelector(what)?.replaceWith(/** @type {Element} */ (fresh.querySelector(what)));
      }
      over.update(part, span);
    },
  };
}
