// Beside many cells: a map of the whole tree that shows where the trouble is, and buttons for what keys and wheel do.

const MAP = 22, STRIPE = 3, BAND = 12; // px: its width with the gap before it; height of a stripe; width of a stripe

function minimap(state, jump) {
  const node = make("canvas", "al-map"), pen = penOf(node);
  let stripes = 0;
  node.setAttribute("aria-hidden", "true"); // N goes there by the keys
  node.title = "where the trouble is: a click goes there (N: to the next)";
  node.addEventListener("click", (event) => jump(inStripe(state, Math.min(stripes - 1, Math.floor(event.offsetY / STRIPE)), stripes)));

  // Which part of the order of the tree is in sight.
  function inSight(visible) {
    const ends = visible.flatMap(({ slot, agents, page }) => [page.from === 0 ? slot : agents[page.from], agents[page.to - 1] ?? slot]);
    const places = ends.map((slot) => state.order.indexOf(slot)), n = state.order.length;
    return ends.length ? [Math.max(0, Math.min(...places)), Math.max(...places) + 1].map((place) => (place * stripes * STRIPE) / n) : null;
  }

  function paint(visible, height) {
    stripes = Math.max(1, Math.min(Math.floor(height / STRIPE), state.order.length));
    const high = stripes * STRIPE, scale = devicePixelRatio;
    node.width = MAP * scale;
    node.height = high * scale;
    Object.assign(node.style, { width: `${MAP}px`, height: `${high}px` });
    pen.scale(scale, scale);
    const { worst, bytes } = stripesOf(state, stripes);
    for (let i = 0; i < stripes; i++) {
      if (worst[i] < 0) continue;
      pen.fillStyle = look({ statuses: state.statuses, looks: [bytes[i]] }, 0).colour;
      pen.globalAlpha = worst[i] > CALM ? 1 : 0.25;
      pen.fillRect(MAP - BAND, i * STRIPE, BAND - 3, STRIPE - (worst[i] > CALM ? 0 : 1));
    }
    pen.globalAlpha = 1;
    const sight = inSight(visible);
    if (!sight || (sight[0] < STRIPE && sight[1] > high - STRIPE)) return;
    pen.strokeStyle = getComputedStyle(node).color;
    pen.lineWidth = 1.5;
    pen.strokeRect(MAP - BAND - 1.5, sight[0] + 0.75, BAND, Math.max(4, sight[1] - sight[0] - 1.5));
  }
  return { node, paint };
}

function toolbar(tools, { zoom, turn, trouble }) {
  const button = (name, text, title, act) => {
    const node = make("button", name, text);
    node.type = "button";
    node.title = title;
    node.setAttribute("aria-label", title);
    node.addEventListener("click", act);
    return node;
  };
  const out = button("al-zoom-out", "−", "zoom out (-)", () => zoom(-1)), near = button("al-zoom-in", "+", "zoom in (+, or Ctrl and the wheel)", () => zoom(1));
  const scale = make("span", "al-dim al-scale"), back = button("al-before", "←", "the page before (Page Up)", () => turn(-1)), page = make("span", "al-dim al-page");
  const on = button("al-after", "→", "the next page (Page Down)", () => turn(1)), next = button("al-trouble", "next in trouble", "go to the next one that is parked or backs off (N; Shift+N: back)", () => trouble(1));
  scale.setAttribute("aria-live", "polite");
  tools.append(out, near, scale, make("span", "al-fill"), back, page, on, next);
  function update(block) {
    if (!block) return;
    const { zoom: level, top, per, from, to } = block.page, some = level < top;
    write(scale, per > 1 ? `a cell is ${count(per)} agents, in the colour of the worst` : "a cell is an agent");
    for (const node of [back, page, on]) node.hidden = !some;
    write(page, `${count(from + 1)} to ${count(to)} of ${count(block.agents.length)}`);
    allow(back, from > 0);
    allow(on, to < block.agents.length);
  }
  return { update };
}
