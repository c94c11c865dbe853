// The live supervision tree, drawn from slots: what it keeps is `state`, what it is told is said in mirror.py.

const GONE = 15, SUPERVISOR = 0x80, OUTDATED = 0x40, STATUS = 0x0f;
const FLASH = 2000; // ms that a crash glows
const HISTORY = 300000, BAR = 15000; // ms of restarts in the small bars, and of one bar

const restartsOf = (n) => `${count(n)} restart${n === 1 ? "" : "s"}`;

// ---------------------------------------------------------------- the picture

function newState() {
  return {
    epoch: -1, mode: "rows", statuses: [], actions: [], crash: "red", counts: {}, minute: 0,
    looks: [], parents: [], facts: new Map(), restarts: new Map(), order: [], depth: [], children: new Map(), selected: -1, wanted: null,
    shown: [], last: new Set(), hit: null, loose: false, stale: false, sift: newSift(), trace: null,
  };
}

function look(state, slot) {
  const [name, colour, shape] = state.statuses[state.looks[slot] & STATUS] ?? ["unknown", "#888", "M-1,0H1"];
  return { name, colour, shape };
}

// Who is selected stays so: by path, or, while nothing but the slot is known yet, by the slot, if it still means the same.
function takeSnapshot(state, message, buffers) {
  const chosen = state.facts.get(state.selected)?.path ?? state.wanted, same = message.epoch === state.epoch ? state.selected : -1;
  Object.assign(state, { mode: message.mode, epoch: message.epoch, statuses: message.statuses, actions: message.actions, crash: message.crash });
  state.parents = Array.from(numbers(buffers[0], Int32Array));
  state.looks = Array.from(numbers(buffers[1], Uint8Array));
  state.facts = new Map(message.rows.map((row) => [row.slot, row]));
  state.restarts = new Map();
  state.wanted = chosen;
  state.selected = message.rows.find((row) => row.path === chosen)?.slot ?? (state.looks[same] === GONE ? -1 : same);
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

// Depth first, children in the order of their slots: the order of the tree. Of a hundred thousand it takes milliseconds.
function arrange(state) {
  const { looks, parents } = state, n = looks.length, ends = new Int32Array(n + 2), lists = new Int32Array(n);
  const above = (slot) => (looks[parents[slot]] === undefined ? -1 : parents[slot]);
  let there = 0;
  for (let slot = 0; slot < n; slot++) if (looks[slot] !== GONE) { ends[above(slot) + 2] += 1; there += 1; }
  for (let i = 1; i < n + 2; i++) ends[i] += ends[i - 1];
  const next = ends.slice();
  for (let slot = 0; slot < n; slot++) if (looks[slot] !== GONE) lists[next[above(slot) + 1]++] = slot;
  const has = (slot) => slot >= -1 && slot < n && ends[slot + 2] > ends[slot + 1];
  const get = (slot) => (has(slot) ? lists.subarray(ends[slot + 1], ends[slot + 2]) : undefined);
  const order = [], depth = new Array(n).fill(-1), walk = [-1];
  while (walk.length) {
    const slot = walk.pop() ?? -1;
    if (slot >= 0) { order.push(slot); depth[slot] = (depth[above(slot)] ?? -1) + 1; }
    for (let i = ends[slot + 2] - 1; i >= ends[slot + 1]; i--) walk.push(lists[i]);
  }
  Object.assign(state, { order, depth, children: { has, get }, loose: false });
}

/** @param {State} state @param {Record<string, any>} message @param {DataView[]} buffers */
function take(state, message, buffers) {
  if (message.t === "difference" && message.epoch !== state.epoch) return null;
  for (const key of ["now", "label", "counts", "minute", "breakers", "nodes", "when", "span"]) state[key] = message[key];
  /** @type {Change & {crashed: number[]}} */
  let change = { moved: true, touched: [], crashed: [], fresh: true };
  if (message.t === "snapshot") takeSnapshot(state, message, buffers);
  else change = message.t === "difference" ? takeDifference(state, message, buffers) : { touched: [], crashed: [] };
  for (const [slot, at] of message.restarts) state.restarts.set(slot, [...(state.restarts.get(slot) ?? []), at]);
  for (const [slot, times] of state.restarts) state.restarts.set(slot, times.filter((at) => at > state.now - HISTORY + BAR));
  change.touched = [...new Set([...change.touched, ...message.restarts.map(([slot]) => slot)])];
  if (change.moved && state.mode === "cells" && !change.fresh) state.loose = true; // arranged when it is drawn
  else if (change.moved) arrange(state);
  change.moved = resift(state, change) || change.moved;
  return change;
}

// Shows other rows where a change makes others match; whether it did.
function resift(state, change) {
  if (state.mode === "cells") {
    state.stale ||= change.moved || change.touched.length > 0;
    return false;
  }
  const before = state.shown;
  if (change.moved || sifting(state) || state.sift.sort) arrangeRows(state);
  return before.length !== state.shown.length || before.some((slot, i) => slot !== state.shown[i]);
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
  const question = make("div", "al-asks"), call = make("code"), answers = ["yes", "no"].map((word) => {
    const yes = word === "yes";
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
      body.focus({ preventScroll: true }); // arrow keys go on from the row
    });
    keys.set(action, button);
    buttons.append(button);
  }
  const why = make("button", "al-why", "traceback"), trace = make("pre", "al-trace");
  why.type = "button";
  why.addEventListener("click", () => toggleTrace(state, model));
  trace.tabIndex = 0;
  trace.setAttribute("aria-label", "traceback of the last exit");
  node.append(what, facts, buttons, said, trace, question);
  let drawn = "";
  function update() {
    const row = state.facts.get(state.selected), live = mood(state) === "live";
    for (const action of state.actions) if (!keys.has(action)) offer(action);
    const [short, long] = over(state);
    const ended = short ?? (live ? "" : "no word from the kernel");
    for (const [action, button] of keys) {
      allow(button, live && !state.log.busy && Boolean(row?.can.includes(action)));
      button.title = ended || (row ? row.can.includes(action) ? effect(row, action) : refusal(state, row, action) : "");
    }
    node.classList.toggle("al-empty", !row);
    question.hidden = !row?.asks;
    write(call, row?.asks?.call ?? "");
    for (const button of answers) allow(button, live && !state.log.busy);
    write(code, long && row ? "" : state.log.code);
    write(result, long && row ? long : state.log.text);
    result.className = state.log.busy ? "al-busy" : state.log.ok ? "al-ok" : "al-failed";
    if (!row) { trace.hidden = true; drawn = ""; what.replaceChildren(make("span", "al-hint", long ?? "Select an agent to act on it.")); return write(facts, ""); }
    const shown = state.trace?.path === row.path ? state.trace : null;
    trace.hidden = !shown;
    write(trace, shown?.text ?? "");
    why.hidden = !row.reason;
    why.setAttribute("aria-expanded", String(Boolean(shown)));
    why.title = `${shown ? "hide" : "show"} how its last life ended (T)`;
    const { name, colour, shape } = look(state, state.selected), now = `${row.path} ${name}`;
    if (drawn !== now) what.replaceChildren(icon(shape, colour), make("b", "", row.path), make("span", "", row.kind === "supervisor" ? row.strategy ?? "" : row.cls), why);
    drawn = now; // drawn anew at each beat, the button would lose the keys
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

function toggleTrace(state, model) {
  const row = state.facts.get(state.selected);
  if (!row?.reason) return;
  if (state.trace?.path === row.path) state.trace = null;
  else {
    state.trace = { path: row.path, text: "…" };
    send(state, model, { t: "trace", epoch: state.epoch, slot: state.selected });
  }
  for (const each of state.views) each.choose();
}

function header(state, again) {
  const node = make("div", "al-top"), label = make("b"), search = searchBox(state, again), chips = make("span", "al-chips"), minute = make("span", "al-minute"), beat = make("span", "al-pulse");
  const pills = new Map();
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", "show only agents of these statuses");
  node.append(label, minute, beat, chips, search.node);
  function pill(name, colour, shape) {
    const chip = make("button", "al-chip"), text = make("span");
    chip.type = "button";
    chip.dataset.status = name;
    chip.append(icon(shape, colour), text);
    chip.addEventListener("click", () => {
      if (!state.sift.statuses.delete(name)) state.sift.statuses.add(name);
      state.sift.page = 0;
      again();
    });
    return { chip, text };
  }
  function update() {
    write(label, state.label);
    state.statuses.forEach(([name, colour, shape]) => {
      if (!pills.has(name)) { pills.set(name, pill(name, colour, shape)); chips.append(pills.get(name).chip); }
      const { chip, text } = pills.get(name), chosen = state.sift.statuses.has(name);
      chip.hidden = !state.counts[name] && !chosen;
      chip.setAttribute("aria-pressed", chosen);
      chip.title = chosen ? "show the others too" : `show only the ${words(name)} ones`;
      write(text, `${count(state.counts[name] ?? 0)} ${words(name)}`);
    });
    search.update();
    write(minute, `${restartsOf(state.minute)} in the last minute`);
    minute.classList.toggle("al-hot", state.minute > 0);
    write(beat, pulse(state));
  }
  return { node, update, box: search.box };
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
    write(said, !listed(state) ? "↓ more below" : `↓ ${count(rows)} more row${rows === 1 ? "" : "s"}`);
  }
  return { node, update, dispose() { sizes.disconnect(); } };
}

function step(state, key) {
  if (state.loose) arrange(state);
  const order = listed(state) ? state.shown : state.order;
  const at = order.indexOf(state.selected), family = new Set(state.children.get(state.selected));
  const targets = {
    ArrowDown: order[Math.min(at + 1, order.length - 1)], ArrowUp: order[Math.max(at - 1, 0)],
    ArrowLeft: state.parents[state.selected] >= 0 ? state.parents[state.selected] : state.selected,
    ArrowRight: order.find((slot) => family.has(slot)) ?? state.selected, Home: order[0], End: order[order.length - 1],
  };
  return targets[key];
}

// Whether a key folds or unfolds what is selected, as in trees: left folds before it goes up, right unfolds before it goes down.
function folds(state, key) {
  const row = state.facts.get(state.selected);
  if (state.mode === "cells" || sifting(state) || row?.kind !== "supervisor" || !state.children.has(state.selected)) return false;
  const folded = state.sift.folded.has(row.path);
  return key === "Enter" || (key === "ArrowLeft" && !folded && row.path !== "/") || (key === "ArrowRight" && folded);
}

function view(state, model, el) {
  const root = make("div", "agentlab agentlab-tree"), body = make("div", "al-body"), top = header(state, again), bottom = inspector(state, model, body), more = rest(state, body), tools = make("div", "al-tools"), outages = breakers(state, model), homes = nodes(state);
  root.dataset.lmSuppressShortcuts = "true"; // else arrow keys move between the notebook's cells
  body.tabIndex = 0;
  body.setAttribute("role", "tree");
  body.setAttribute("aria-label", "supervision tree");
  root.append(top.node, tools, body, more.node, outages.node, homes.node, bottom.node);
  el.append(root);
  let inner = null, mode = "";

  function again() {
    if (state.seq < 0) return;
    if (state.mode !== "cells") arrangeRows(state);
    else find(state, model);
    for (const each of state.views) each.update({ moved: true, touched: [], crashed: [] });
  }
  function select(slot, { trace = false } = {}) {
    if (slot === undefined || slot < 0) return;
    state.selected = slot;
    state.wanted = state.facts.get(slot)?.path ?? null;
    if (state.mode === "cells") send(state, model, { t: "select", epoch: state.epoch, slot });
    for (const each of state.views) each.choose();
    if (trace && state.trace?.path !== state.wanted) toggleTrace(state, model);
  }
  const KEYS = { "/": () => top.box.focus(), t: () => toggleTrace(state, model) };
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === top.box) {
      if (event.key === "Escape") { top.box.value = state.sift.text = ""; state.sift.statuses.clear(); again(); }
      if (["Escape", "Enter", "ArrowDown"].includes(event.key)) { event.preventDefault(); body.focus({ preventScroll: true }); }
      return;
    }
    if (event.target instanceof HTMLButtonElement && event.key === "Enter") return;
    if (KEYS[event.key] ?? folds(state, event.key)) {
      event.preventDefault();
      event.stopPropagation();
      return KEYS[event.key] ? KEYS[event.key]() : fold(state, state.selected, again);
    }
    if (inner?.key?.(event.key)) { event.preventDefault(); event.stopPropagation(); return; }
    const slot = step(state, event.key);
    if (slot === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    select(slot);
    body.querySelector("[aria-selected='true']")?.scrollIntoView({ block: "nearest" }); // who goes by keys goes with the page
  });

  return framed(state, root, {
    paint(change) {
      const wanted = listed(state) ? "rows" : "cells";
      if (mode !== wanted) {
        inner?.dispose();
        body.replaceChildren();
        tools.replaceChildren();
        mode = wanted;
        tools.hidden = mode !== "cells";
        body.setAttribute("role", mode === "cells" ? "application" : "tree"); // cells take keys, and are no items
        inner = mode === "cells" ? cellsView(state, body, select, tools) : rowsView(state, body, select, again);
        change = { ...change, fresh: true, moved: true };
      }
      inner.update(change);
      inner.choose();
      more.update();
    },
    choose() { inner?.choose(); },
    tick() {
      if (state.mode === "cells" && sifting(state) && state.stale && mood(state) === "live") find(state, model);
      top.update();
      outages.update();
      homes.update();
      bottom.update();
    },
    slowTick() { inner?.tick(); },
    dispose() { more.dispose(); inner?.dispose(); },
  });
}

// Answers that are no part of the picture.
function aside(state, message) {
  if (message.t === "found" && message.epoch === state.epoch && message.word === state.sift.asked) {
    for (const row of message.rows) state.facts.set(row.slot, row);
    if (state.loose) arrange(state);
    const moved = String(message.rows.map((row) => row.slot)) !== String(state.shown);
    Object.assign(state, { shown: message.rows.map((row) => row.slot), last: new Set(), hit: null });
    state.sift.found = { total: message.total, from: message.from };
    return { moved, touched: state.shown, crashed: [] };
  }
  if (message.t === "trace" && state.trace?.path === message.path) state.trace.text = message.text;
}

export default live({ newState, take, view, aside });
