// Many agents: each supervisor is a block of cells on one canvas, a cell per agent, in places that stay. Selection and
// the glow of crashes are a second canvas above, so that nothing of them is left behind. Past MANY agents a large block
// is one bar of its statuses until its title is clicked.

const MANY = 20000, LARGE = 200; // agents in all, and in one block, past which a block becomes a bar
const SIZES = [20, 16, 13, 11, 9, 7, 5, 4, 3]; // px of a cell, gap included: the largest that fits is taken
const ROOM = 620, TALLEST = 12000; // px of height that cells should fit into; px that a canvas can have
const MARGIN = 10; // px left and right of the canvas, as in tree.css
const TITLE = 22, SPACE = 10, STEP = 14, BARS = 18; // px: title, gap below a block, indent, height of a bar

function cellsView(state, host, select) {
  const frame = make("div", "al-canvas"), base = make("canvas"), above = make("canvas");
  base.setAttribute("role", "img");
  frame.append(base, above);
  host.append(frame);
  const pen = base.getContext("2d"), glowPen = above.getContext("2d");
  const glows = new Map(), opened = new Set(), sprites = new Map();
  let blocks = [], home = [], size = 20, width = 0, height = 0, ink = "#000", pending = 0, touched = new Set(), whole = true;

  // ------------------------------------------------------------ places

  function gather() {
    const found = [];
    for (const slot of [-1, ...state.order]) {
      if (slot >= 0 && !(state.looks[slot] & SUPERVISOR)) continue;
      const agents = (state.children.get(slot) ?? []).filter((child) => !(state.looks[child] & SUPERVISOR));
      if (slot >= 0 || agents.length) found.push({ slot, agents, indent: slot < 0 ? 0 : state.depth[slot] * STEP });
    }
    return found;
  }

  function arrangeBlocks() {
    const many = state.order.length > MANY;
    for (size of SIZES) {
      let y = 4;
      for (const block of blocks) {
        block.bar = many && block.agents.length > LARGE && !opened.has(block.slot);
        block.x = block.indent + 4;
        block.y = y;
        block.columns = Math.max(1, Math.floor((width - block.x - 4) / size));
        block.body = block.bar ? BARS : Math.ceil(block.agents.length / block.columns) * size;
        y += TITLE + block.body + SPACE;
      }
      height = Math.min(y, TALLEST);
      if (y <= ROOM) break;
    }
    home = [];
    blocks.forEach((block, i) => block.agents.forEach((slot, place) => { home[slot] = [i, place]; }));
  }

  function spot(slot) {
    const [i, place] = home[slot] ?? [blocks.findIndex((block) => block.slot === slot), -1];
    const block = blocks[i];
    if (!block) return null;
    if (place < 0) return [block.x - 3, block.y, Math.min(width - block.x, 420), TITLE - 2];
    if (block.bar) return [block.x, block.y + TITLE, width - block.x - 4, BARS];
    return [block.x + (place % block.columns) * size, block.y + TITLE + Math.floor(place / block.columns) * size, size, size];
  }

  function hit(x, y) {
    const block = blocks.find((each) => y >= each.y && y < each.y + TITLE + each.body);
    if (!block) return undefined;
    if (y < block.y + TITLE || block.bar) return block.slot >= 0 ? block.slot : undefined;
    const column = Math.floor((x - block.x) / size);
    if (column < 0 || column >= block.columns) return undefined;
    return block.agents[Math.floor((y - block.y - TITLE) / size) * block.columns + column];
  }

  // ------------------------------------------------------------ drawing

  function sprite(byte) {
    const key = `${byte}/${size}/${devicePixelRatio}`;
    if (sprites.has(key)) return sprites.get(key);
    const { colour, shape } = look({ statuses: state.statuses, looks: [byte] }, 0);
    const canvas = make("canvas"), pixels = Math.round(size * devicePixelRatio), to = canvas.getContext("2d");
    canvas.width = canvas.height = pixels;
    const gap = size >= 9 ? 2 : size >= 4 ? 1 : 0, side = size - gap;
    to.scale(pixels / size, pixels / size);
    to.fillStyle = colour;
    if (size >= 9) {
      to.globalAlpha = 0.2;
      to.beginPath();
      to.roundRect(0, 0, side, side, side / 4);
      to.fill();
      to.globalAlpha = 1;
    }
    if (size >= 7) {
      to.translate(side / 2, side / 2);
      to.scale(side * (size >= 9 ? 0.34 : 0.5), side * (size >= 9 ? 0.34 : 0.5));
      to.fill(new Path2D(shape));
      if (byte & OUTDATED) { to.globalAlpha = 0.9; to.fillRect(0.7, -1.3, 0.6, 0.6); }
    } else to.fillRect(0, 0, side, side);
    sprites.set(key, canvas);
    return canvas;
  }

  function cell(slot) {
    const place = spot(slot);
    if (!place || place[1] > height) return;
    pen.clearRect(...place);
    if (state.looks[slot] !== GONE) pen.drawImage(sprite(state.looks[slot] & ~SUPERVISOR), ...place);
  }

  function tally(block) {
    const counts = new Map();
    for (const slot of block.agents) {
      if (state.looks[slot] === GONE) continue;
      const byte = state.looks[slot] & STATUS;
      counts.set(byte, (counts.get(byte) ?? 0) + 1);
    }
    return [...counts].sort(([a], [b]) => a - b).map(([byte, n]) => ({ ...look({ statuses: state.statuses, looks: [byte] }, 0), n }));
  }

  function title(block) {
    const facts = state.facts.get(block.slot), counts = tally(block), all = counts.reduce((sum, { n }) => sum + n, 0);
    pen.clearRect(0, block.y, width, TITLE);
    pen.textBaseline = "middle";
    let x = block.x;
    const put = (text, font, colour, alpha = 1) => {
      pen.font = font;
      pen.fillStyle = colour;
      pen.globalAlpha = alpha;
      pen.fillText(text, x, block.y + TITLE / 2 - 1);
      pen.globalAlpha = 1;
      x += pen.measureText(text).width + 10;
    };
    put(facts?.id ?? "/", `600 12px ${family()}`, ink);
    const [used, most, seconds] = facts?.intensity ?? [];
    if (facts) put(facts.strategy ?? facts.cls, `11px ${family()}`, ink, 0.65);
    if (facts?.intensity) put(`${used}/${most} in ${seconds} s`, `11px ${family()}`, used ? state.crash : ink, used ? 1 : 0.65);
    put(`${count(all)} agent${all === 1 ? "" : "s"}`, `11px ${family()}`, ink, 0.65);
    for (const { n, name, colour } of counts) if (name !== "running") put(`${count(n)} ${words(name)}`, `600 11px ${family()}`, colour);
    if (block.bar) bar(block, counts, all);
  }

  function bar(block, counts, all) {
    let x = block.x;
    const room = width - block.x - 4;
    pen.clearRect(block.x, block.y + TITLE, room, BARS);
    for (const { n, colour } of counts) {
      const part = Math.max(2, (room * n) / all);
      pen.fillStyle = colour;
      pen.fillRect(x, block.y + TITLE, Math.max(1, part - 1), BARS);
      x += part;
    }
  }

  const room = () => Math.floor(host.clientWidth) - 2 * MARGIN;
  const family = () => getComputedStyle(host).fontFamily;

  function resize() {
    width = room();
    ink = getComputedStyle(host).color;
    blocks = gather();
    arrangeBlocks();
    for (const canvas of [base, above]) {
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
      canvas.getContext("2d").setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    }
    Object.assign(frame.style, { height: `${height}px` });
  }

  function paint() {
    pending = 0;
    if (whole) {
      sprites.clear();
      resize();
      for (const block of blocks) {
        if (block.y > height) break;
        title(block);
        if (!block.bar) block.agents.forEach(cell);
      }
      chosen();
    } else {
      const stale = new Set();
      for (const slot of touched) {
        const at = home[slot];
        if (at && !blocks[at[0]].bar) cell(slot);
        stale.add(at ? blocks[at[0]] : blocks.find((block) => block.slot === slot));
      }
      stale.forEach((block) => block && title(block));
    }
    touched = new Set();
    whole = false;
    base.setAttribute("aria-label", `${count(state.order.length)} agents and supervisors; the header counts them by status`);
    frame.dataset.cells = state.order.length;
  }
  const soon = () => { pending ||= requestAnimationFrame(paint); };

  // ------------------------------------------------------------ selection and glow

  function chosen() {
    glowPen.clearRect(0, 0, width, height);
    const now = performance.now(), bars = new Map();
    for (const [slot, since] of glows) {
      const place = spot(slot), left = 1 - (now - since) / FLASH;
      if (left <= 0 || !place) { glows.delete(slot); continue; }
      if (blocks[home[slot]?.[0]]?.bar) { bars.set(place.join(), [place, left]); continue; }
      const [x, y, w, h] = place, grow = Math.max(1, 5 - w / 4) + 3 * left * left;
      glowPen.globalAlpha = left;
      glowPen.strokeStyle = glowPen.fillStyle = state.crash;
      glowPen.lineWidth = 2;
      glowPen.strokeRect(x - grow, y - grow, w - 2 + 2 * grow, h - 2 + 2 * grow);
      glowPen.globalAlpha = left * 0.45;
      glowPen.fillRect(x - grow, y - grow, w - 2 + 2 * grow, h - 2 + 2 * grow);
      glowPen.globalAlpha = 1;
    }
    for (const [[x, y, w, h], left] of bars.values()) { // one line for all crashes behind a bar, the latest last
      glowPen.globalAlpha = left;
      glowPen.fillStyle = state.crash;
      glowPen.fillRect(x, y + h + 1, w, 3);
      glowPen.globalAlpha = 1;
    }
    const place = state.selected >= 0 ? spot(state.selected) : null;
    if (place) {
      const [x, y, w, h] = place, out = 2;
      glowPen.strokeStyle = ink;
      glowPen.lineWidth = 1.5;
      glowPen.strokeRect(x - out, y - out, w - 1 + 2 * out, h - 1 + 2 * out);
    }
    if (glows.size) requestAnimationFrame(chosen);
  }

  above.addEventListener("click", (event) => {
    const slot = hit(event.offsetX, event.offsetY), block = blocks.find((each) => each.slot === slot);
    if (block && state.order.length > MANY) {
      if (!opened.delete(slot)) opened.add(slot);
      whole = true;
      soon();
    }
    select(slot);
  });
  const again = () => { if (state.seq >= 0) { whole = true; soon(); } };
  const sizes = new ResizeObserver(() => { if (room() !== width) again(); });
  sizes.observe(host);
  const theme = new MutationObserver(again);
  theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light"] });

  return {
    update(change) {
      whole ||= change.fresh || change.moved;
      change.touched.forEach((slot) => touched.add(slot));
      const idle = glows.size === 0;
      for (const slot of change.crashed) glows.set(slot, performance.now());
      if (idle && glows.size) requestAnimationFrame(chosen);
      soon();
    },
    tick() {},
    choose() {
      if (!glows.size) chosen();
      const place = state.selected >= 0 ? spot(state.selected) : null;
      if (place && (place[1] < host.scrollTop || place[1] + place[3] > host.scrollTop + host.clientHeight)) host.scrollTop = place[1] - 40;
    },
    dispose() { sizes.disconnect(); theme.disconnect(); cancelAnimationFrame(pending); },
  };
}
