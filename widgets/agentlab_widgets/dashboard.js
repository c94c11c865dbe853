// The parts of the dashboard (dashboard.py), each with a line of its own to the kernel, in one layout. A part is the same
// code as the view that stands alone: Tree, Inspector, Transcript, Stream and Rates are their files.

const KEY = "agentlab.dashboard"; // where the browser keeps the splits
const SPLITS = { rows: 58, top: 54, bottom: 58 }; // percent, of the height and of the width above and below
const LEAST = 12, STEP = 2;

function storedSplits(text) {
  let kept = {};
  try { kept = JSON.parse(text ?? "{}") ?? {}; } catch { /* somebody else's text */ }
  return Object.fromEntries(Object.entries(SPLITS).map(([name, usual]) => [name, Number.isFinite(kept[name]) ? bounded(kept[name]) : usual]));
}

const bounded = (share) => Math.min(100 - LEAST, Math.max(LEAST, share));

// Where a key moves a splitter to; undefined if it is none of its keys.
function moved(share, key, upright) {
  const by = { [upright ? "ArrowLeft" : "ArrowUp"]: -STEP, [upright ? "ArrowRight" : "ArrowDown"]: STEP }[key];
  return by ? bounded(share + by) : { Home: LEAST, End: 100 - LEAST }[key];
}

// Who is selected, and which of its parts is open: the widget keeps it, so that it is there again when the page was loaded anew.
function keep(board) {
  try {
    board.model.set("chosen", [board.chosen?.path ?? "", board.tab]);
    board.model.save_changes();
  } catch { /* the line to a kernel that was restarted cannot be used */ }
}

function recall() { try { return localStorage.getItem(KEY); } catch { return null; } }
function remember(splits) { try { localStorage.setItem(KEY, JSON.stringify(splits)); } catch { /* a page without storage */ } }

// ---------------------------------------------------------------- lines

function newBoard() {
  return { strands: new Map(), splits: storedSplits(recall()), chosen: null, tab: "inspector", absent: new Map(), views: new Set(), model: null };
}

const KINDS = { tree: () => Tree, events: () => Stream, rates: () => Rates, inspector: () => Inspector, transcript: () => Transcript };

function paneModel(board, name) {
  return { get widget_manager() { return board.model.widget_manager; }, send: (message) => board.model.send({ ...message, pane: name }) };
}

function strandOf(board, name) {
  if (!board.strands.has(name)) {
    const strand = newStrand(KINDS[name.split(":")[0]]()), model = paneModel(board, name);
    board.strands.set(name, { strand, model });
    strand.begin(model);
  }
  return board.strands.get(name);
}

function hear(board, message, buffers) {
  const open = board.strands.get(message.pane);
  if (!open) return;
  if (message.t !== "absent") return open.strand.hear(open.model, message, buffers);
  board.absent.set(message.pane, message.why);
  for (const each of board.views) each.choose();
}

// Who is selected in the tree: the agent's parts are opened, those of the one before are let go of.
function choose(board) {
  const { state } = strandOf(board, "tree").strand, row = state.facts.get(state.selected);
  const now = row ? `${state.epoch}:${row.slot}` : null;
  if (now === board.chosen?.key) return;
  board.chosen = row ? { key: now, path: row.path, agent: row.kind === "agent" } : null;
  keep(board);
  const events = strandOf(board, "events").strand.state;
  events.selected = row?.path ?? "";
  for (const each of [...events.views, ...board.views]) each.choose();
  for (const [name, { strand, model }] of board.strands) {
    if (!name.includes(":") || name.endsWith(`:${now}`)) continue;
    send(strand.state, model, { t: "hidden", looker: strand.state.looker });
    board.strands.delete(name);
  }
  board.absent.clear();
}

// The moment that the tree shows: later events are not shown then; the inspector is turned back by the kernel.
function follow(board) {
  const { when } = strandOf(board, "tree").strand.state, events = strandOf(board, "events").strand.state, until = when?.at ?? null;
  if (events.until !== until) {
    events.until = until;
    for (const each of events.views) each.choose();
  }
  for (const each of board.views) each.follow();
}

// Select in the tree by path, from elsewhere.
function pick(board, path) {
  const { strand, model } = strandOf(board, "tree"), { state } = strand;
  const row = [...state.facts.values()].find((each) => each.path === path);
  if (!row) return;
  state.selected = row.slot;
  state.wanted = path;
  if (state.mode === "cells") send(state, model, { t: "select", epoch: state.epoch, slot: row.slot });
  for (const each of state.views) each.choose();
}

// ---------------------------------------------------------------- the layout

function splitter(board, root, name, upright) {
  const node = make("div", `al-split al-split-${upright ? "upright" : "level"}`);
  node.tabIndex = 0;
  node.dataset.split = name;
  node.setAttribute("role", "separator");
  node.setAttribute("aria-orientation", upright ? "vertical" : "horizontal");
  node.setAttribute("aria-label", { rows: "height of the tree", top: "width of the tree", bottom: "width of the events" }[name]);
  node.title = "drag, or use the arrow keys; a double click sets it back";
  const put = (share) => {
    board.splits[name] = share;
    remember(board.splits);
    for (const each of board.views) each.resize();
  };
  node.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    node.setPointerCapture(event.pointerId);
    const box = /** @type {HTMLElement} */ (node.parentElement).getBoundingClientRect();
    const move = (at) => put(bounded((100 * (upright ? at.clientX - box.left : at.clientY - box.top)) / (upright ? box.width : box.height)));
    node.addEventListener("pointermove", move);
    node.addEventListener("lostpointercapture", () => node.removeEventListener("pointermove", move), { once: true });
  });
  node.addEventListener("dblclick", () => put(SPLITS[name]));
  node.addEventListener("keydown", (event) => {
    const share = moved(board.splits[name], event.key, upright);
    if (share === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    put(share);
  });
  return node;
}

const TABS = ["inspector", "transcript"];

function agentPart(board) {
  const node = make("section", "al-agent-part"), bar = make("div", "al-tabs"), host = make("div", "al-host"), hint = make("div", "al-hint");
  node.setAttribute("aria-label", "the selected agent");
  bar.setAttribute("role", "tablist");
  let shown = null, drawn = "";
  const tabs = TABS.map((name) => {
    const tab = make("button", "al-tab", name);
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.addEventListener("click", () => turn(name));
    tab.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      turn(TABS[1 - TABS.indexOf(board.tab)]);
      tabs[TABS.indexOf(board.tab)].focus();
    });
    bar.append(tab);
    return tab;
  });
  host.setAttribute("role", "tabpanel");
  const ofNow = make("span", "al-of-now", "as it is now"); // a conversation is not turned back
  bar.append(make("span", "al-fill"), ofNow);
  node.append(bar, host);
  function turn(name) { board.tab = name; keep(board); for (const each of board.views) each.choose(); }
  function update() {
    ofNow.hidden = board.tab !== "transcript";
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(TABS[i] === board.tab));
      tab.tabIndex = TABS[i] === board.tab ? 0 : -1;
    });
    const { chosen } = board, name = chosen?.agent ? `${board.tab}:${chosen.key}` : "", why = board.absent.get(name);
    const says = why ?? (name ? "" : chosen ? `${chosen.path} is a supervisor: select an agent to look into it.` : "Select an agent in the tree to look into it.");
    if (drawn === name + says) return;
    shown?.dispose();
    shown = null;
    drawn = name + says;
    write(hint, says);
    host.replaceChildren(...(says ? [hint] : []));
    if (says) return;
    const { strand, model } = strandOf(board, name);
    shown = strand.view(model, host);
  }
  return { node, update, dispose() { shown?.dispose(); } };
}

function boardView(board, el) {
  const root = make("div", "agentlab-dashboard"), above = make("div", "al-above"), below = make("div", "al-below"), agent = agentPart(board);
  const places = Object.fromEntries(["tree", "events", "rates"].map((name) => [name, make("div", `al-place al-place-${name}`)]));
  root.dataset.lmSuppressShortcuts = "true";
  const splits = { rows: splitter(board, root, "rows", false), top: splitter(board, root, "top", true), bottom: splitter(board, root, "bottom", true) };
  above.append(places.tree, splits.top, agent.node);
  below.append(places.events, splits.bottom, places.rates);
  const tree = strandOf(board, "tree"), slider = player(() => tree.strand.state, (message) => send(tree.strand.state, tree.model, message));
  root.append(above, splits.rows, below, slider.node);
  el.append(root);
  const inner = Object.entries(places).map(([name, place]) => {
    const { strand, model } = strandOf(board, name);
    return strand.view(model, place);
  });
  const self = {
    resize() {
      for (const [name, share] of Object.entries(board.splits)) {
        root.style.setProperty(`--al-${name}`, `${share}%`);
        splits[name].setAttribute("aria-valuenow", Math.round(share));
      }
    },
    choose() {
      root.dataset.chosen = board.chosen ? (board.chosen.agent ? "agent" : "supervisor") : "";
      agent.update();
    },
    follow() {
      slider.update();
      root.dataset.then = String(Boolean(tree.strand.state.when));
    },
    dispose() { agent.dispose(); for (const each of inner) each.dispose(); board.views.delete(self); },
  };
  board.views.add(self);
  self.resize();
  self.choose();
  self.follow();
  return self;
}

function dashboard() {
  const board = newBoard();
  return {
    initialize({ model }) {
      board.model = model;
      const onMessage = (message, buffers) => hear(board, message, buffers);
      const onCut = () => { for (const { strand } of board.strands.values()) strand.cut(); };
      model.on("msg:custom", onMessage);
      model.on("comm_live_update", onCut);
      const [path, tab] = model.get("chosen") ?? [];
      if (TABS.includes(tab)) board.tab = tab;
      for (const name of ["tree", "events", "rates"]) strandOf(board, name);
      strandOf(board, "tree").strand.state.wanted = path || null;
      board.strands.get("events").strand.state.pick = (path) => pick(board, path);
      // The tree tells of a selection as it tells its views; this one draws nothing, and nobody sees it.
      const follower = { update() { choose(board); follow(board); }, choose: () => choose(board), tick: () => { for (const each of board.views) each.follow(); }, slowTick() {}, visible: () => false };
      board.strands.get("tree").strand.state.views.add(follower);
      const clock = setInterval(() => { for (const { strand, model: line } of board.strands.values()) strand.beat(line); }, 500);
      return () => { clearInterval(clock); model.off("msg:custom", onMessage); model.off("comm_live_update", onCut); };
    },
    render({ el }) {
      const shown = boardView(board, el);
      return () => shown.dispose();
    },
  };
}

export default dashboard;
