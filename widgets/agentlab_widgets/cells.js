// Many agents: each supervisor is a block of cells on one canvas, a cell per agent, in places that stay. A large block is
// a heat map (heat.js) that opens: zoomed in it is pages of agents one by one. The canvas is as large as what is seen of
// it and draws only that, so thousands of blocks scroll. Selection and the glow of crashes are a second canvas above, so
// that nothing of them is left behind.

const MANY = 20000, LARGE = 4000; // agents in all, past which every block is a heat map; in one block, past which it is
const SIZES = [32, 25, 20, 16, 13, 11, 9, 7, 5, 4, 3], FIRST = 2; // px of a cell, gap included: the largest from FIRST that fits
const HEAT = 13, LEAST = 2, MOST = 40; // px of a heat map's cell; rows of one, at least and when it is open
const ROOM = 620; // px of height that cells should fit into
const MARGIN = 10; // px left and right of the canvas, as in tree.css
const TITLE = 22, SPACE = 10, STEP = 14; // px: title, gap below a block, indent
const TURN = 40; // px of the wheel to the next zoom

function cellsView(state, host, select, tools) {
  const frame = make("div", "al-canvas"), lens = make("div", "al-lens"), base = make("canvas"), above = make("canvas");
  const map = minimap(state, jump), bar = toolbar(tools, { zoom, turn, trouble });
  base.setAttribute("role", "img");
  lens.append(map.node, base, above);
  frame.append(lens);
  host.append(frame);
  const pen = penOf(base), glowPen = penOf(above);
  const glows = new Map(), opened = new Set(), pages = new Map(), sprites = new Map();
  let blocks = [], blockOf = new Map(), size = 20, larger = 0, width = 0, height = 0, seen = 0, top = 0, ink = "#000", paper = "#fff";
  let pending = 0, fresh = true, blank = true, ranks = ranksOf(state), turned = 0, reached = -1;

  // ------------------------------------------------------------ places

  function gather() {
    const found = [];
    for (const slot of [-1, ...state.order]) {
      if (slot >= 0 && !(state.looks[slot] & SUPERVISOR)) continue;
      const agents = (state.children.get(slot) ?? new Int32Array(0)).filter((child) => !(state.looks[child] & SUPERVISOR));
      if (slot >= 0 || agents.length) found.push({ slot, agents, indent: slot < 0 ? 0 : state.depth[slot] * STEP, shades: null, said: "" });
    }
    return found;
  }

  function layOut(side, share) {
    let y = 4;
    for (const block of blocks) {
      block.x = Math.min(block.indent, width / 3) + 4;
      block.y = y;
      block.size = block.heat ? HEAT : side;
      block.columns = Math.max(1, Math.floor((width - block.x - 4) / block.size));
      const room = block.heat ? block.columns * (opened.has(block.slot) ? MOST : share) : Infinity;
      block.page = pageOf(block.agents.length, room, pages.get(block.slot));
      block.body = Math.ceil(block.page.cells / block.columns) * block.size;
      y += TITLE + block.body + SPACE;
    }
    return y;
  }

  function arrangeBlocks() {
    const many = state.order.length > MANY;
    let heats = 0;
    for (const block of blocks) { block.heat = many || block.agents.length > LARGE; heats += block.heat && block.agents.length > 0; }
    const share = Math.max(LEAST, Math.min(MOST, Math.floor((ROOM - blocks.length * (TITLE + SPACE)) / HEAT / Math.max(1, heats))));
    let fit = FIRST;
    while (layOut(SIZES[fit], share) > ROOM && fit < SIZES.length - 1 && heats < blocks.length) fit += 1;
    size = SIZES[Math.max(0, fit - larger)];
    height = layOut(size, share);
    blockOf = new Map(blocks.map((block) => [block.slot, block]));
  }

  // The block of an agent, or of a supervisor its own.
  function homeOf(slot) {
    if (state.looks[slot] & SUPERVISOR) return [blockOf.get(slot), -1];
    const block = blockOf.get(state.looks[state.parents[slot]] === undefined ? -1 : state.parents[slot]);
    return [block, block ? placeOf(block.agents, slot) : -1];
  }

  /** @type {(block: Record<string, any>, cell: number) => [number, number, number, number]} */
  const box = (block, cell) => [block.x + (cell % block.columns) * block.size, block.y + TITLE + Math.floor(cell / block.columns) * block.size, block.size, block.size];

  function spot(slot) {
    const [block, place] = homeOf(slot);
    if (!block) return null;
    if (place < 0) return [block.x - 3, block.y, Math.min(width - block.x, 420), TITLE - 2];
    const { from, to, per } = block.page;
    return place < from || place >= to ? null : box(block, Math.floor((place - from) / per));
  }

  // What is at a point: a block and the agents of its cell, none of its title.
  function hit(x, y) {
    const block = blocks.find((each) => y >= each.y && y < each.y + TITLE + each.body);
    if (!block) return null;
    if (y < block.y + TITLE) return { block, from: -1, to: -1 };
    const column = Math.floor((x - block.x) / block.size), cell = Math.floor((y - block.y - TITLE) / block.size) * block.columns + column;
    if (column < 0 || column >= block.columns || cell >= block.page.cells) return null;
    const from = block.page.from + cell * block.page.per;
    return { block, from, to: Math.min(from + block.page.per, block.page.to) };
  }

  // ------------------------------------------------------------ drawing

  function sprite(shade, side) {
    const key = `${shade}/${side}/${devicePixelRatio}`;
    if (sprites.has(key)) return sprites.get(key);
    const byte = shade & 0xff, full = shade >> 8, { colour, shape } = look({ statuses: state.statuses, looks: [byte] }, 0);
    const canvas = make("canvas"), pixels = Math.round(side * devicePixelRatio), to = penOf(canvas);
    canvas.width = canvas.height = pixels;
    const gap = side >= 9 ? 2 : side >= 4 ? 1 : 0, inner = side - gap, rank = ranks[byte & STATUS];
    const alpha = !full ? 0.2 : rank > CALM ? 0.25 + (0.75 * full) / SHADES : 0.1 + (0.3 * full) / SHADES;
    to.scale(pixels / side, pixels / side);
    to.fillStyle = colour;
    if (side >= 9) {
      to.globalAlpha = alpha;
      to.beginPath();
      to.roundRect(0, 0, inner, inner, inner / 4);
      to.fill();
      to.globalAlpha = 1;
    }
    if (side < 7) to.fillRect(0, 0, inner, inner);
    else if (!full || rank > 0) {
      if (full && alpha > 0.6) to.fillStyle = paper;
      to.translate(inner / 2, inner / 2);
      to.scale(inner * (side >= 9 ? 0.34 : 0.5), inner * (side >= 9 ? 0.34 : 0.5));
      to.fill(new Path2D(shape));
      if (byte & OUTDATED) { to.globalAlpha = 0.9; to.fillRect(0.7, -1.3, 0.6, 0.6); }
    }
    sprites.set(key, canvas);
    return canvas;
  }

  // Only cells in sight whose look has changed.
  function cells(block) {
    const { columns, size: side, page } = block, shades = shadesOf(state, ranks, block.agents, page), start = block.y + TITLE;
    const first = Math.max(0, Math.floor((top - start) / side)) * columns, end = Math.min(page.cells, Math.ceil((top + seen - start) / side) * columns);
    for (let cell = first; cell < end; cell++) {
      if (block.shades && block.shades[cell] === shades[cell]) continue;
      const place = box(block, cell);
      if (block.shades) pen.clearRect(...place);
      if ((shades[cell] & STATUS) !== GONE) pen.drawImage(sprite(shades[cell], side), ...place);
    }
    block.shades = shades;
  }

  function title(block) {
    const facts = state.facts.get(block.slot), counts = countsOf(state, block.agents), all = block.agents.length, { page } = block;
    const [used, most, seconds] = facts?.intensity ?? [], said = `${facts?.status} ${used} ${page.from} ${page.per} ${counts}`;
    if (block.said === said) return;
    block.said = said;
    pen.clearRect(0, block.y, width, TITLE);
    pen.textBaseline = "middle";
    const middle = block.y + TITLE / 2 - 1;
    let x = block.x;
    const put = (text, font, colour, alpha = 1) => {
      pen.font = `${font} ${family}`;
      pen.fillStyle = colour;
      pen.globalAlpha = alpha;
      pen.fillText(text, x, middle);
      pen.globalAlpha = 1;
      x += pen.measureText(text).width + 10;
    };
    put(facts?.id ?? "/", "600 12px", ink);
    if (facts) put(facts.strategy ?? facts.cls, "11px", ink, 0.65);
    if (facts?.intensity) { x = gauge(x, middle, used / Math.max(1, most)); put(`${used}/${most} in ${seconds} s`, "11px", used ? state.crash : ink, used ? 1 : 0.65); }
    put(`${count(all)} agent${all === 1 ? "" : "s"}`, "11px", ink, 0.65);
    counts.forEach((n, byte) => {
      const { name, colour } = look({ statuses: state.statuses, looks: [byte] }, 0);
      if (n && name !== "running") put(`${count(n)} ${words(name)}`, "600 11px", colour);
    });
    if (page.zoom < page.top) put(`shown: ${count(page.from + 1)} to ${count(page.to)}`, "11px", ink, 0.65);
  }

  // How much of the restarts that it may spend is spent.
  function gauge(x, middle, used) {
    for (const [colour, part, alpha] of [[ink, 1, 0.15], [state.crash, Math.min(1, used), 1]]) {
      pen.fillStyle = colour;
      pen.globalAlpha = alpha;
      pen.fillRect(x, middle - 2.5, 26 * part, 5);
    }
    pen.globalAlpha = 1;
    return x + 32;
  }

  const room = () => Math.floor(host.clientWidth) - 2 * MARGIN - MAP;
  let family = "sans-serif";

  function resize() {
    const style = getComputedStyle(host);
    [ink, paper, family] = [style.color, getComputedStyle(host.closest(".agentlab")).backgroundColor, style.fontFamily];
    width = room();
    ranks = ranksOf(state);
    blocks = gather();
    arrangeBlocks();
    frame.style.height = `${height}px`;
    seen = Math.min(height, Math.max(host.clientHeight, 60));
    lens.style.height = `${seen}px`;
    for (const canvas of [base, above]) {
      const [w, h] = [width, seen].map((side) => Math.round(side * devicePixelRatio));
      if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
      Object.assign(canvas.style, { width: `${width}px`, height: `${seen}px` });
    }
    blank = true;
  }

  function look0(to) {
    to.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    to.clearRect(0, 0, width, seen);
    to.translate(0, -top);
  }

  function paint() {
    pending = 0;
    if (state.loose) { arrange(state); fresh = true; }
    if (fresh) resize();
    if (blank) {
      top = lens.offsetTop;
      look0(pen);
      for (const block of blocks) { block.shades = null; block.said = ""; }
    }
    const visible = blocks.filter((block) => block.y < top + seen && block.y + TITLE + block.body > top);
    for (const block of visible) { title(block); cells(block); }
    map.paint(visible, seen);
    bar.update(now());
    if (blank) chosen();
    fresh = blank = false;
    base.setAttribute("aria-label", `${count(state.order.length)} agents and supervisors; the header counts them by status`);
    frame.dataset.cells = state.order.length;
  }
  const soon = () => { pending ||= requestAnimationFrame(paint); };
  const again = () => { if (state.seq >= 0) { fresh = true; soon(); } };

  // ------------------------------------------------------------ selection and glow

  function chosen() {
    look0(glowPen);
    const moment = performance.now(), places = new Map();
    for (const [slot, since] of glows) {
      const left = 1 - (moment - since) / FLASH, place = left > 0 ? spot(slot) : null;
      if (!place) { glows.delete(slot); continue; }
      if (place[1] + place[3] > top && place[1] < top + seen) places.set(`${place}`, [place, left]); // one for all crashes in a cell, the latest last
    }
    glowPen.strokeStyle = glowPen.fillStyle = state.crash;
    glowPen.lineWidth = 2;
    for (const [[x, y, w, h], left] of places.values()) {
      const grow = Math.max(1, 5 - w / 4) + 3 * left * left;
      glowPen.globalAlpha = left;
      glowPen.strokeRect(x - grow, y - grow, w - 2 + 2 * grow, h - 2 + 2 * grow);
      glowPen.globalAlpha = left * 0.45;
      glowPen.fillRect(x - grow, y - grow, w - 2 + 2 * grow, h - 2 + 2 * grow);
    }
    glowPen.globalAlpha = 1;
    const place = state.selected >= 0 ? spot(state.selected) : null;
    if (place) {
      const [x, y, w, h] = place, out = 2;
      glowPen.strokeStyle = ink;
      glowPen.lineWidth = 1.5;
      glowPen.strokeRect(x - out, y - out, w - 1 + 2 * out, h - 1 + 2 * out);
    }
    if (glows.size) requestAnimationFrame(chosen);
  }

  // ------------------------------------------------------------ what a person does

  // The block that keys and buttons are about: that of what is selected, else the largest.
  function now() {
    const [block] = state.selected >= 0 ? homeOf(state.selected) : [];
    return block ?? blocks.reduce((best, each) => (!best || each.agents.length > best.agents.length ? each : best), null);
  }

  function zoom(way, block = now(), at = state.selected >= 0 ? homeOf(state.selected)[1] : 0) {
    if (!block) return;
    if (!block.heat) larger = Math.max(0, Math.min(SIZES.length, larger + way));
    else {
      const { zoom: was, top: most } = block.page;
      if (way > 0) opened.add(block.slot);
      else if (was >= most) opened.delete(block.slot);
      pages.set(block.slot, { zoom: Math.max(0, Math.min(most, was - way)), at: Math.max(at, block.page.from) });
    }
    again();
  }

  function turn(way) {
    const block = now();
    if (!block || block.page.zoom === block.page.top) return false;
    const { from, to, zoom: level } = block.page;
    pages.set(block.slot, { zoom: level, at: way > 0 ? Math.min(to, block.agents.length - 1) : Math.max(0, from - 1) });
    const [home, place] = state.selected >= 0 ? homeOf(state.selected) : [];
    if (home !== block || place >= 0) select(block.agents[way > 0 ? Math.min(to, block.agents.length - 1) : Math.max(0, from - (to - from))]);
    again();
    return true;
  }

  // Shows an agent by itself.
  function jump(slot) {
    if (slot === undefined || slot < 0) return false;
    const [block, place] = homeOf(slot);
    if (block?.heat && place >= 0) {
      opened.add(block.slot);
      pages.set(block.slot, { zoom: 0, at: place });
    }
    fresh = true;
    select(slot);
    soon();
    return true;
  }

  function trouble(way) {
    if (state.loose) arrange(state);
    return jump(nextTrouble(state, way));
  }

  // A step to the next cell where a cell is several agents; else the tree's own steps.
  function stepOver(way) {
    const [block, place] = state.selected >= 0 ? homeOf(state.selected) : [];
    if (!block || place < 0 || block.page.per === 1) return false;
    const next = Math.floor(place / block.page.per + way) * block.page.per;
    if (next < 0 || next >= block.agents.length) return false;
    select(block.agents[next]);
    return true;
  }

  function open() {
    const [block, place] = state.selected >= 0 ? homeOf(state.selected) : [];
    if (!block?.heat) return false;
    if (place >= 0) return jump(state.selected);
    if (!opened.delete(block.slot)) opened.add(block.slot); else pages.delete(block.slot);
    again();
    return true;
  }

  const whole = () => { pages.clear(); opened.clear(); larger = 0; again(); return true; };
  const KEYS = {
    "+": () => zoom(1), "=": () => zoom(1), "-": () => zoom(-1), 0: whole, Enter: open, n: () => trouble(1), N: () => trouble(-1),
    PageDown: () => turn(1), PageUp: () => turn(-1), ArrowDown: () => stepOver(1), ArrowUp: () => stepOver(-1),
  };

  const point = (event) => hit(event.offsetX, event.offsetY + top);
  above.addEventListener("click", (event) => {
    const found = point(event);
    if (!found) return;
    if (found.from < 0) { select(found.block.slot); if (found.block.heat && found.block.slot >= 0) open(); return; }
    const slot = found.block.agents[worstOf(state, ranks, found.block.agents, found.from, found.to)];
    if (found.block.page.per > 1) jump(slot); else select(slot);
  });
  above.addEventListener("mousemove", (event) => {
    const found = point(event), { block, from = -1, to = 0 } = found ?? {};
    const one = found && to === from + 1 ? state.facts.get(block.agents[from])?.path : "";
    above.title = !found || from < 0 ? "" : `${one || `${count(from + 1)}${to > from + 1 ? ` to ${count(to)}` : ""} of ${count(block.agents.length)}`}: ${counted(state, countsOf(state, block.agents, from, to))}`;
  });
  // Where the tree has the keys the wheel is the tree's too, as on a map; a page that is only scrolled past scrolls.
  above.addEventListener("wheel", (event) => {
    const found = point(event);
    if (!found || !(event.ctrlKey || event.metaKey || (found.block.heat && host.contains(document.activeElement)))) return;
    event.preventDefault();
    turned += event.deltaY * (event.deltaMode === 1 ? 20 : 1);
    if (Math.abs(turned) < TURN) return;
    zoom(turned < 0 ? 1 : -1, found.block, Math.max(0, found.from));
    turned = 0;
  }, { passive: false });
  const scrolled = () => { blank = true; soon(); };
  host.addEventListener("scroll", scrolled, { passive: true });
  const sizes = new ResizeObserver(() => { if (room() !== width || (height > seen && host.clientHeight !== seen)) again(); });
  sizes.observe(host);
  const theme = new MutationObserver(() => { sprites.clear(); again(); });
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light"] });

  return {
    update(change) {
      fresh ||= change.fresh || (change.moved && !state.loose);
      const idle = glows.size === 0;
      for (const slot of change.crashed) glows.set(slot, performance.now());
      if (idle && glows.size) requestAnimationFrame(chosen);
      soon();
    },
    tick() {},
    key: (key) => KEYS[key] !== undefined && KEYS[key]() !== false,
    choose() {
      if (fresh || state.selected < 0) return soon();
      const [block, place] = homeOf(state.selected), another = state.selected !== reached;
      reached = state.selected;
      if (another && block?.heat && place >= 0 && (place < block.page.from || place >= block.page.to)) { // the page follows
        pages.set(block.slot, { zoom: block.page.zoom, at: place });
        resize();
        paint();
      }
      if (!glows.size) chosen();
      bar.update(now());
      const found = spot(state.selected);
      if (another && found && (found[1] < host.scrollTop || found[1] + found[3] > host.scrollTop + host.clientHeight)) host.scrollTop = found[1] - 40;
    },
    dispose() { sizes.disconnect(); theme.disconnect(); host.removeEventListener("scroll", scrolled); cancelAnimationFrame(pending); },
  };
}
