// The live supervision tree, drawn from slots: what it keeps is `state`, what it is told is said in mirror.py.

const GONE = 15, SUPERVISOR = 0x80, OUTDATED = 0x40, STATUS = 0x0f;
const FLASH = 2000; // ms that a crash glows
const HISTORY = 300000, BAR = 15000; // ms of restarts in the small bars, and of one bar
const INDENT = 18, LINE = 28; // px

const restartsOf = (n) => `${count(n)} restart${n === 1 ? "" : "s"}`;

// ---------------------------------------------------------------- the picture

function newState() {
  return {
    epoch: -1, mode: "rows", statuses: [], actions: [], crash: "red", counts: {}, minute: 0,
    looks: [], parents: [], facts: new Map(), restarts: new Map(), order: [], depth: [], children: new Map(), selected: -1, wanted: null,
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

function take(state, message, buffers) {
  if (message.t === "difference" && message.epoch !== state.epoch) return null;
  for (const key of ["now", "label", "counts", "minute", "breakers"]) state[key] = message[key];
  let change = { moved: true, touched: [], crashed: [], fresh: true };
  if (message.t === "snapshot") takeSnapshot(state, message, buffers);
  else change = message.t === "difference" ? takeDifference(state, message, buffers) : { touched: [], crashed: [] };
  for (const [slot, at] of message.restarts) state.restarts.set(slot, [...(state.restarts.get(slot) ?? []), at]);
  for (const [slot, times] of state.restarts) state.restarts.set(slot, times.filter((at) => at > state.now - HISTORY + BAR));
  change.touched = [...new Set([...change.touched, ...message.restarts.map(([slot]) => slot)])];
  if (change.moved) arrange(state);
  return change;
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
  const question = make("div", "al-asks"), call = make("code"), answers = [["yes", true], ["no", false]].map(([word, yes]) => {
    const button = make("button", `al-answer-${word}`, word);
    button.type = "button";
    button.title = yes ? "let the tool run" : "tell the model that it was refused";
    button.addEventListener("click", () => {
      const asks = state.facts.get(state.selected)?.asks; // what is shown: the kernel refuses a word about any other call
      if (asks) send(state, model, { t: "answer", yes, asks, epoch: state.epoch, slot: state.selected });
      body.focus({ preventScroll: true });
    });
    return button;
  });
  question.append(make("span", "", "May it run"), call, ...answers);
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
  node.append(what, facts, buttons, said, question);
  function update() {
    const row = state.facts.get(state.selected), live = mood(state) === "live";
    for (const action of state.actions) if (!keys.has(action)) offer(action);
    const [short, long] = over(state);
    const ended = short ?? (live ? "" : "no word from the kernel");
    for (const [action, button] of keys) {
      button.disabled = !live || state.log.busy || !row?.can.includes(action);
      button.title = ended || (row ? row.can.includes(action) ? effect(row, action) : refusal(state, row, action) : "");
    }
    node.classList.toggle("al-empty", !row);
    question.hidden = !row?.asks;
    write(call, row?.asks?.call ?? "");
    for (const button of answers) button.disabled = !live || state.log.busy;
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
  const node = make("div", "al-top"), label = make("b"), chips = make("span", "al-chips"), minute = make("span", "al-minute"), beat = make("span", "al-pulse");
  node.append(label, minute, beat, chips);
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
    write(beat, pulse(state));
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
  const root = make("div", "agentlab agentlab-tree"), body = make("div", "al-body"), top = header(state), bottom = inspector(state, model, body), more = rest(state, body), outages = breakers(state, model);
  root.dataset.lmSuppressShortcuts = "true"; // else arrow keys move between the notebook's cells
  body.tabIndex = 0;
  body.setAttribute("role", "tree");
  body.setAttribute("aria-label", "supervision tree");
  root.append(top.node, body, more.node, outages.node, bottom.node);
  el.append(root);
  let inner = null, mode = "";

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

  return framed(state, root, {
    paint(change) {
      if (mode !== state.mode) {
        inner?.dispose();
        body.replaceChildren();
        mode = state.mode;
        inner = (mode === "cells" ? cellsView : rowsView)(state, body, select);
        change = { ...change, fresh: true, moved: true };
      }
      inner.update(change);
      inner.choose();
      more.update();
    },
    choose() { inner?.choose(); },
    tick() { top.update(); outages.update(); bottom.update(); },
    slowTick() { inner?.tick(); },
    dispose() { more.dispose(); inner?.dispose(); },
  });
}

export default live({ newState, take, view });
