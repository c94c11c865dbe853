// The live supervision tree. The kernel owns the state, this file only draws it: it keeps the last picture (`state`,
// shared by all views of one widget), applies differences in order, asks for everything when one is missing, and turns
// grey when the kernel is silent or gone. Text from agents goes into the page as text only.

const GONE = 15, SUPERVISOR = 0x80, OUTDATED = 0x40, STATUS = 0x0f;
const SILENCE = 2000; // ms without a word after which the picture may be wrong
const FLASH = 2000; // ms that a crash glows
const HISTORY = 300000, BAR = 15000; // ms of restarts in the small bars, and of one bar
const CLOSED = "The lab is closed; this is how it was, and nothing can be done to it any more.";
const GONE_WORDS = {
  restarted: ["the kernel was restarted: run this cell again", "The kernel was restarted, and this lab ended with it. Make the lab again, then run this cell again."],
  gone: ["the kernel is gone: start one, run this cell again", "The kernel is gone, and this lab ended with it. Start a kernel, make the lab again, then run this cell again."],
};
const INDENT = 18, LINE = 28; // px

const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};
const draw = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const numbers = (view, Kind) => new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
const words = (status) => status.replace("_", " ");
const count = (n) => n.toLocaleString("en");
const restartsOf = (n) => `${count(n)} restart${n === 1 ? "" : "s"}`;

function icon(shape, colour) {
  return draw("svg", { class: "al-icon", viewBox: "-1.3 -1.3 2.6 2.6", "aria-hidden": "true" }, draw("path", { d: shape, fill: colour }));
}

// ---------------------------------------------------------------- the picture

function newState() {
  return {
    looker: Math.random().toString(36).slice(2), seq: -1, epoch: -1, mode: "rows", statuses: [], actions: [], crash: "red",
    label: "", counts: {}, minute: 0, closed: false, now: 0, heard: 0, asked: 0,
    looks: [], parents: [], facts: new Map(), restarts: new Map(), order: [], depth: [], children: new Map(),
    selected: -1, wanted: null, cut: false, kernel: () => undefined, log: { code: "", text: "", ok: true, busy: false }, views: new Set(), awake: true,
  };
}

function look(state, slot) {
  const [name, colour, shape] = state.statuses[state.looks[slot] & STATUS] ?? ["unknown", "#888", "M-1,0H1"];
  return { name, colour, shape };
}

function takeSnapshot(state, message, buffers) {
  const chosen = state.facts.get(state.selected)?.path ?? state.wanted;
  Object.assign(state, { mode: message.mode, epoch: message.epoch, statuses: message.statuses, actions: message.actions, crash: message.crash });
  state.parents = Array.from(numbers(buffers[0], Int32Array));
  state.looks = Array.from(numbers(buffers[1], Uint8Array));
  state.facts = new Map(message.rows.map((row) => [row.slot, row]));
  state.restarts = new Map();
  state.wanted = chosen;
  state.selected = message.rows.find((row) => row.path === chosen)?.slot ?? -1;
}

// Returns the slots that changed and whether places did.
function takeDifference(state, message, buffers) {
  const slots = numbers(buffers[0], Uint32Array), looks = numbers(buffers[1], Uint8Array);
  const added = numbers(buffers[2], Int32Array);
  let moved = added.length > 0;
  for (let i = 0; i < added.length; i += 2) state.parents[added[i]] = added[i + 1];
  slots.forEach((slot, i) => {
    state.looks[slot] = looks[i];
    if (looks[i] === GONE) {
      state.facts.delete(slot);
      if (state.selected === slot) state.selected = -1;
      moved = true;
    }
  });
  for (const row of message.rows) state.facts.set(row.slot, row);
  return { moved, touched: Array.from(slots), crashed: Array.from(numbers(buffers[3], Uint32Array)) };
}

// Depth first, children in the order of their slots: the order of the tree.
function arrange(state) {
  const children = new Map();
  state.looks.forEach((byte, slot) => {
    if (byte === GONE) return;
    const parent = state.looks[state.parents[slot]] === undefined ? -1 : state.parents[slot];
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(slot);
  });
  const order = [], depth = [], walk = [[-1, -1]];
  while (walk.length) {
    const [slot, level] = walk.pop();
    if (slot >= 0) { order.push(slot); depth[slot] = level; }
    const family = children.get(slot) ?? [];
    for (let i = family.length - 1; i >= 0; i--) walk.push([family[i], level + 1]);
  }
  Object.assign(state, { order, depth, children });
}

function hear(state, model, message, buffers) {
  if (message.t === "doing" || message.t === "did") {
    state.log = { code: message.code, text: message.text ?? "…", ok: message.ok ?? true, busy: message.t === "doing" };
    return { touched: [], crashed: [] };
  }
  state.heard = performance.now();
  state.cut = false;
  const next = message.t === "difference" ? state.seq + 1 : state.seq;
  if (message.t !== "snapshot" && (message.seq !== next || (message.t === "difference" && message.epoch !== state.epoch))) {
    return ask(state, model);
  }
  for (const key of ["seq", "now", "label", "counts", "minute", "closed"]) state[key] = message[key];
  let change = { moved: true, touched: [], crashed: [], fresh: true };
  if (message.t === "snapshot") takeSnapshot(state, message, buffers);
  else change = message.t === "difference" ? takeDifference(state, message, buffers) : { touched: [], crashed: [] };
  for (const [slot, at] of message.restarts) state.restarts.set(slot, [...(state.restarts.get(slot) ?? []), at]);
  for (const [slot, times] of state.restarts) state.restarts.set(slot, times.filter((at) => at > state.now - HISTORY + BAR));
  change.touched = [...new Set([...change.touched, ...message.restarts.map(([slot]) => slot)])];
  if (change.moved) arrange(state);
  return change;
}

function ask(state, model) {
  if (performance.now() - state.asked > (state.seq < 0 ? 400 : 1000)) {
    state.asked = performance.now();
    send(state, model, { t: "hello", looker: state.looker });
  }
  return null;
}

// The line to a kernel that was restarted cannot be used: it throws.
function send(state, model, message) {
  try { model.send(message); } catch { state.cut = true; }
}

// Whether the kernel of this picture can still speak. A line that was cut may have been mended: then it is heard again.
function gone(state) {
  const kernel = state.kernel(); // undefined where the page does not say, null where there is none
  return kernel === null || kernel?.isDisposed || kernel?.status === "dead" ? "gone" : state.cut ? "restarted" : "";
}

function mood(state) {
  if (state.closed) return "closed";
  if (performance.now() - state.heard <= SILENCE) return "live";
  return gone(state) ? "gone" : state.awake ? "silent" : "live";
}

// ---------------------------------------------------------------- few agents: rows

const COLUMNS = ["agent", "kind", "status", "incarnation", "restarts", "mailbox", "node", "last exit"];

function guides(state, slot) {
  const level = state.depth[slot], width = Math.max(level, 0) * INDENT;
  let path = "", child = slot;
  for (let at = level; at > 0; at--, child = state.parents[child]) {
    const x = (at - 1) * INDENT + 8, family = state.children.get(state.parents[child]) ?? [];
    const last = family[family.length - 1] === child;
    if (child === slot) path += `M${x},0V${LINE / 2 - 6}Q${x},${LINE / 2} ${x + 6},${LINE / 2}H${x + 10}` + (last ? "" : `M${x},0V${LINE}`);
    else if (!last) path += `M${x},0V${LINE}`;
  }
  return draw("svg", { class: "al-guides", width, height: LINE }, draw("path", { d: path }));
}

function bars(state, slot) {
  const times = state.restarts.get(slot) ?? [], heights = new Array(HISTORY / BAR).fill(0);
  for (const at of times) heights[heights.length - 1 - Math.max(0, Math.floor((state.now - at) / BAR))] += 1;
  const most = Math.max(2, ...heights);
  let path = "";
  heights.forEach((n, i) => { if (n) path += `M${i * 3},13V${13 - (12 * n) / most}h2V13z`; });
  return path;
}

function rowsView(state, host, select) {
  const body = make("div", "al-rows"), head = make("div", "al-row al-head"), lines = new Map();
  head.append(...COLUMNS.map((name) => make("span", "", name)));
  host.append(head, body);

  function line(slot) {
    const node = make("div", "al-row"), cells = COLUMNS.map((name) => make("span", `al-${name.replace(" ", "-")}`));
    const parts = { node, cells, spark: draw("path", { fill: state.crash }) };
    parts.guide = make("span", "al-guide"), parts.mark = make("span", "al-mark"), parts.name = make("span", "al-id");
    parts.badge = make("span", "al-word"), parts.number = make("span", "al-number");
    cells[0].append(parts.guide, parts.mark, parts.name);
    cells[2].append(parts.badge);
    cells[4].append(parts.number, draw("svg", { class: "al-spark", width: 60, height: 14 }, draw("path", { class: "al-ground", d: "M0,13.5H60" }), parts.spark));
    node.setAttribute("role", "treeitem");
    node.id = `al-${state.looker}-${slot}`;
    node.append(...cells);
    node.addEventListener("click", () => select(slot));
    return parts;
  }

  function fill(slot) {
    const facts = state.facts.get(slot), parts = lines.get(slot);
    if (!facts || !parts) return;
    const { name, colour, shape } = look(state, slot), supervisor = facts.kind === "supervisor";
    const [used, most, seconds] = facts.intensity ?? [];
    Object.assign(parts.node.dataset, { path: facts.path, status: facts.status, incarnation: facts.incarnation });
    parts.node.classList.toggle("al-supervisor", supervisor);
    parts.node.setAttribute("aria-level", state.depth[slot] + 1);
    parts.node.style.setProperty("--al-status", colour);
    if (parts.shape !== name) { parts.shape = name; parts.mark.replaceChildren(icon(shape, colour)); }
    write(parts.name, facts.id);
    write(parts.cells[1], [supervisor ? facts.strategy ?? facts.cls : facts.cls, facts.mark, facts.letters]
      .filter(Boolean).join(" · "));
    parts.name.title = facts.path, parts.cells[1].title = parts.cells[1].textContent; // both may be cut
    write(parts.badge, words(facts.status));
    write(parts.cells[3], supervisor && facts.incarnation < 2 ? "" : `#${facts.incarnation}`);
    write(parts.number, facts.intensity ? `${used}/${most} in ${seconds} s` : facts.restarts ? count(facts.restarts) : supervisor ? "" : "0");
    parts.number.classList.toggle("al-hot", Boolean(facts.intensity && used));
    parts.spark.setAttribute("d", bars(state, slot));
    parts.spark.parentNode.style.visibility = facts.restarts ? "visible" : "hidden";
    write(parts.cells[5], supervisor ? "" : count(facts.mailbox));
    write(parts.cells[6], facts.node === null ? "" : String(facts.node));
    write(parts.cells[7], facts.reason);
    parts.cells[7].title = facts.reason;
  }

  function place() {
    for (const [slot, parts] of lines) if (state.looks[slot] === GONE || !state.facts.has(slot)) { parts.node.remove(); lines.delete(slot); }
    state.order.forEach((slot, i) => {
      if (!lines.has(slot)) lines.set(slot, line(slot));
      const parts = lines.get(slot);
      parts.guide.replaceChildren(guides(state, slot));
      if (body.children[i] !== parts.node) body.insertBefore(parts.node, body.children[i] ?? null);
      fill(slot);
    });
  }

  function flash(slot) {
    const node = lines.get(slot)?.node;
    const glow = `color-mix(in srgb, ${state.crash} 38%, transparent)`;
    node?.animate([{ background: glow, boxShadow: `inset 3px 0 ${state.crash}` }, { background: "transparent" }], { duration: FLASH, easing: "ease-out" });
    node?.querySelector(".al-icon")?.animate([{ transform: "scale(1.7)" }, { transform: "scale(1)" }], { duration: 500, easing: "ease-out" });
  }

  return {
    update(change) {
      if (change.fresh) { lines.clear(); body.replaceChildren(); }
      if (change.moved) place();
      else change.touched.forEach(fill);
      change.crashed.forEach(flash);
    },
    tick() { for (const slot of state.restarts.keys()) fill(slot); },
    choose() {
      for (const [slot, { node }] of lines) node.setAttribute("aria-selected", slot === state.selected);
      const chosen = lines.get(state.selected)?.node;
      host.setAttribute("aria-activedescendant", chosen?.id ?? "");
      chosen?.scrollIntoView({ block: "nearest" });
    },
    dispose() {},
  };
}

// ---------------------------------------------------------------- the frame around either view

const EFFECT = {
  crash: "raise an exception inside it; its supervisor reacts",
  kill: "end it at once, without asking; its supervisor reacts",
  skip: "end the message that it has in hand, for good",
  restart: "end this incarnation and start the next one",
  stop: "end it in good order, after the message in hand",
  suspend: "handle no message until it is resumed; they wait in the mailbox",
  resume: "go on with the messages that wait",
};

function effect(row, action) {
  if (action !== "stop" || row.kind !== "supervisor") return EFFECT[action] ?? "";
  const ends = "end it and its children in good order", above = row.path.slice(0, row.path.lastIndexOf("/")) || "/";
  if (!row.again) return ends;
  return `${ends}; permanent: its supervisor starts it again. lab['${above}'].terminate_child('${row.id}') leaves it down, delete_child takes it away`;
}

function refusal(state, row, action) {
  if (row.kind === "supervisor" && row.path === "/") return "the root ends with lab.close()";
  if (row.kind === "supervisor" && !["kill", "restart", "stop"].includes(action)) return "for agents only: this is a supervisor";
  if (action === "skip") return "it has no message in hand";
  return action === "resume" ? "it is not suspended" : `not while it is ${words(row.status)}`;
}

function inspector(state, model, body) {
  const node = make("div", "al-inspector"), what = make("div", "al-what"), facts = make("div", "al-facts");
  const buttons = make("div", "al-buttons"), said = make("div", "al-said"), code = make("code"), result = make("span");
  node.setAttribute("aria-live", "polite");
  said.append(code, " ", result);
  const keys = new Map();
  function offer(action) {
    const button = make("button", `al-do-${action}`, action);
    button.type = "button";
    button.addEventListener("click", () => {
      send(state, model, { t: "do", what: action, epoch: state.epoch, slot: state.selected });
      body.focus({ preventScroll: true }); // the button is about to be disabled, which would lose the keys
    });
    keys.set(action, button);
    buttons.append(button);
  }
  node.append(what, facts, buttons, said);
  function update() {
    const row = state.facts.get(state.selected), live = mood(state) === "live";
    for (const action of state.actions) if (!keys.has(action)) offer(action);
    const [short, long] = mood(state) === "gone" ? GONE_WORDS[gone(state)] : state.closed ? ["the lab is closed", CLOSED] : [];
    const over = short ?? (live ? "" : "no word from the kernel");
    for (const [action, button] of keys) {
      button.disabled = !live || state.log.busy || !row?.can.includes(action);
      button.title = over || (row ? row.can.includes(action) ? effect(row, action) : refusal(state, row, action) : "");
    }
    node.classList.toggle("al-empty", !row);
    write(code, long && row ? "" : state.log.code);
    write(result, long && row ? long : state.log.text);
    result.className = state.log.busy ? "al-busy" : state.log.ok ? "al-ok" : "al-failed";
    if (!row) { what.replaceChildren(make("span", "al-hint", long ?? "Select an agent to act on it.")); return write(facts, ""); }
    const { name, colour, shape } = look(state, state.selected);
    what.replaceChildren(icon(shape, colour), make("b", "", row.path), make("span", "", row.kind === "supervisor" ? row.strategy ?? "" : row.cls));
    const lives = row.kind === "agent" && ["running", "busy", "waiting", "suspended"].includes(row.status);
    const since = lives && row.since ? ` since ${new Date(row.since).toLocaleTimeString("en-GB")}` : "";
    const told = [words(row.status || name), `incarnation ${row.incarnation}${since}`, restartsOf(row.restarts)];
    if (row.restart) told.push(row.restart);
    if (row.node !== null) told.push(`node ${row.node}`);
    if (row.reason) told.push(`last exit: ${row.reason}`);
    write(facts, told.join(" · "));
  }
  return { node, update };
}

function header(state) {
  const node = make("div", "al-top"), label = make("b"), chips = make("span", "al-chips"), minute = make("span", "al-minute"), pulse = make("span", "al-pulse");
  node.append(label, minute, pulse, chips);
  function update() {
    write(label, state.label);
    const shown = state.statuses.filter(([name]) => state.counts[name]);
    chips.replaceChildren(...shown.map(([name, colour, shape]) => {
      const chip = make("span", "al-chip");
      chip.append(icon(shape, colour), make("span", "", `${count(state.counts[name])} ${words(name)}`));
      return chip;
    }));
    write(minute, `${restartsOf(state.minute)} in the last minute`);
    minute.classList.toggle("al-hot", state.minute > 0);
    const silence = Math.round((performance.now() - state.heard) / 1000);
    write(pulse, { live: "live", closed: "closed", silent: `no word from the kernel for ${silence} s` }[mood(state)] ?? GONE_WORDS[gone(state)][0]);
  }
  return { node, update };
}

// What lies below the edge of a tree that is cut: a page may draw no scroll bar until somebody scrolls.
function rest(state, body) {
  const node = make("div", "al-more"), said = make("span");
  node.setAttribute("aria-hidden", "true"); // the rows themselves are read out
  node.append(said);
  body.addEventListener("scroll", update, { passive: true });
  const sizes = new ResizeObserver(update);
  sizes.observe(body);
  function update() {
    const below = body.scrollHeight - body.clientHeight - body.scrollTop, rows = Math.round(below / LINE);
    node.hidden = below < LINE / 2;
    write(said, state.mode === "cells" ? "↓ more below" : `↓ ${count(rows)} more row${rows === 1 ? "" : "s"}`);
  }
  return { node, update, dispose() { sizes.disconnect(); } };
}

function step(state, key) {
  const at = state.order.indexOf(state.selected), family = state.children.get(state.selected) ?? [];
  const targets = {
    ArrowDown: state.order[Math.min(at + 1, state.order.length - 1)], ArrowUp: state.order[Math.max(at - 1, 0)],
    ArrowLeft: state.parents[state.selected] >= 0 ? state.parents[state.selected] : state.selected,
    ArrowRight: family[0] ?? state.selected, Home: state.order[0], End: state.order[state.order.length - 1],
  };
  return targets[key];
}

function view(state, model, el) {
  const root = make("div", "agentlab-tree"), body = make("div", "al-body"), top = header(state), bottom = inspector(state, model, body), more = rest(state, body);
  root.dataset.lmSuppressShortcuts = "true"; // else arrow keys move between the notebook's cells
  body.tabIndex = 0;
  body.setAttribute("role", "tree");
  body.setAttribute("aria-label", "supervision tree");
  root.append(top.node, body, more.node, bottom.node);
  el.append(root);
  let inner = null, mode = "", visible = true, late = false;

  function select(slot) {
    if (slot === undefined || slot < 0) return;
    state.selected = slot;
    state.wanted = state.facts.get(slot)?.path ?? null;
    if (state.mode === "cells") send(state, model, { t: "select", epoch: state.epoch, slot });
    for (const each of state.views) each.choose();
  }
  root.addEventListener("keydown", (event) => {
    const slot = step(state, event.key);
    if (slot !== undefined) { event.preventDefault(); event.stopPropagation(); select(slot); }
  });

  const self = {
    update(change) {
      if (!visible) { late = true; return; }
      if (mode !== state.mode) {
        inner?.dispose();
        body.replaceChildren();
        mode = state.mode;
        inner = (mode === "cells" ? cellsView : rowsView)(state, body, select);
        change = { ...change, fresh: true, moved: true };
      }
      inner.update(change);
      self.choose(change.fresh);
      more.update();
      root.dataset.painted = state.seq;
    },
    choose() { inner?.choose(); self.tick(); },
    tick() {
      if (!visible) return;
      root.dataset.mood = mood(state);
      top.update();
      bottom.update();
    },
    slowTick() { if (visible) inner?.tick(); },
    visible: () => visible,
    dispose() { watcher.disconnect(); more.dispose(); inner?.dispose(); state.views.delete(self); },
  };
  const watcher = new IntersectionObserver(([entry]) => {
    visible = entry.isIntersecting;
    if (visible && late && state.seq >= 0) { late = false; self.update({ fresh: true, moved: true, touched: [], crashed: [] }); }
  });
  watcher.observe(root);
  state.views.add(self);
  if (state.seq >= 0) self.update({ fresh: true, moved: true, touched: [], crashed: [] });
  return () => self.dispose();
}

// ---------------------------------------------------------------- what anywidget calls

export default () => {
  const state = newState();
  return {
    initialize({ model }) {
      const onMessage = (message, buffers) => {
        const change = hear(state, model, message, buffers);
        if (change) for (const each of state.views) each.update(change);
      };
      const onCut = () => { state.cut = true; }; // also when a line was mended: the next word says so
      state.kernel = () => model.widget_manager?.kernel;
      model.on("msg:custom", onMessage);
      model.on("comm_live_update", onCut);
      state.heard = performance.now();
      ask(state, model);
      let beats = 0, unseen = 0;
      const clock = setInterval(() => {
        if (state.seq < 0) ask(state, model); // the first word may wait behind a busy cell, the next ones do not
        const seen = !document.hidden && [...state.views].some((each) => each.visible());
        unseen = seen ? 0 : unseen + 1;
        if (unseen === 4 && state.awake) { state.awake = false; send(state, model, { t: "hidden", looker: state.looker }); }
        if (seen && !state.awake) {
          Object.assign(state, { awake: true, asked: 0, heard: gone(state) ? state.heard : performance.now() });
          ask(state, model);
        }
        for (const each of state.views) { each.tick(); if (++beats % 20 === 0) each.slowTick(); }
      }, 500);
      return () => { clearInterval(clock); model.off("msg:custom", onMessage); model.off("comm_live_update", onCut); };
    },
    render({ model, el }) { return view(state, model, el); },
  };
};
