// What happens in a lab, newest first (stream.py), with a filter by kind, by words, and by who is selected in the tree.

const SHOWN = 300; // rows that are drawn, the newest

const newStream = () => ({ span: null, events: [], kinds: {}, colours: {}, kept: 0, chosen: new Set(), text: "", only: false, selected: "", until: null, pick: () => {}, open: new Set() });

function takeStream(state, message) {
  if (message.t === "snapshot") {
    Object.assign(state, { events: message.events, kinds: message.kinds, colours: message.colours, kept: message.kept, span: message.span });
    return EVERYTHING;
  }
  if (message.t !== "difference") return { touched: [], crashed: [] };
  state.events = newestOf([...state.events, ...message.events], state.kept);
  return { touched: message.events, crashed: [] };
}

// The newest of each kind, oldest first.
function newestOf(events, kept) {
  const counts = new Map(), found = [];
  for (let i = events.length - 1; i >= 0; i--) {
    const n = (counts.get(events[i].kind) ?? 0) + 1;
    counts.set(events[i].kind, n);
    if (n <= kept) found.push(events[i]);
  }
  return found.reverse();
}

// Whether a path is the selected one, or below it.
const isBelow = (path, above) => above === "/" || path === above || path.startsWith(`${above}/`);

function shownEvents(state) {
  const terms = state.text.toLowerCase().split(/\s+/).filter(Boolean), found = [];
  for (let i = state.events.length - 1; i >= 0 && found.length < SHOWN; i--) {
    const event = state.events[i];
    if (state.until !== null && event.at > state.until) continue;
    if (state.chosen.size && !state.chosen.has(event.kind)) continue;
    if (state.only && state.selected && !isBelow(event.path, state.selected)) continue;
    const text = `${words(event.kind)} ${event.kind} ${event.path} ${event.reason}`.toLowerCase();
    if (terms.every((term) => text.includes(term))) found.push(event);
  }
  return found;
}

function eventRow(state, event) {
  const node = make("div", "al-happened"), mark = make("span", "al-dot"), who = make("button", "al-who", event.path || "the lab");
  const what = make("span", "al-kind", words(event.kind)), why = make(event.detail ? "button" : "span", "al-why", event.reason);
  mark.style.background = state.colours[event.kind] ?? "";
  what.title = state.kinds[event.kind] ?? "";
  who.type = "button";
  who.disabled = !event.path;
  who.title = "select it in the tree";
  who.addEventListener("click", () => state.pick(event.path));
  node.append(make("time", "", clockTime(event.at)), mark, what, who, make("span", "al-life", event.life ? `#${event.life}` : ""), why);
  node.dataset.kind = event.kind;
  if (!event.detail) return node;
  const fold = make("div", "al-more-of"), detail = make("pre", "", event.detail);
  const unfold = (now) => { detail.hidden = !now; why.setAttribute("aria-expanded", String(now)); };
  why.setAttribute("type", "button");
  if (!event.reason) why.setAttribute("aria-label", `details of ${words(event.kind)}`);
  why.addEventListener("click", () => { if (!state.open.delete(event.seq)) state.open.add(event.seq); unfold(state.open.has(event.seq)); });
  unfold(state.open.has(event.seq));
  fold.append(node, detail);
  return fold;
}

function view(state, model, el) {
  const root = make("section", "agentlab agentlab-stream"), top = make("div", "al-top"), chips = make("div", "al-chips"), body = make("div", "al-body");
  const title = make("b", "", "events"), box = make("input"), only = make("label", "al-only"), tick = make("input"), hint = make("div", "al-hint");
  root.setAttribute("aria-label", "events, newest first");
  root.dataset.lmSuppressShortcuts = "true";
  box.type = "search";
  box.placeholder = "search: agent, reason";
  box.setAttribute("aria-label", "search events");
  tick.type = "checkbox";
  only.append(tick, make("span", "", "selected only"));
  only.title = "only what happened to who is selected in the tree, and below";
  chips.setAttribute("role", "group");
  chips.setAttribute("aria-label", "show only events of these kinds");
  top.append(title, make("span", "al-fill"), only, box);
  body.tabIndex = 0;
  body.setAttribute("aria-label", "events");
  root.append(top, chips, body);
  el.append(root);
  const rows = new Map(), pills = new Map();
  const again = () => { for (const each of state.views) each.update({ touched: [] }); };
  box.addEventListener("input", () => { state.text = box.value; again(); });
  tick.addEventListener("change", () => { state.only = tick.checked; again(); });

  function pill(kind) {
    const chip = make("button", "al-chip"), dot = make("span", "al-dot"), text = make("span", "", words(kind));
    chip.type = "button";
    chip.dataset.kind = kind;
    chip.title = state.kinds[kind] ?? "";
    dot.style.background = state.colours[kind] ?? "";
    chip.append(dot, text);
    chip.addEventListener("click", () => { if (!state.chosen.delete(kind)) state.chosen.add(kind); again(); });
    return chip;
  }
  function paintPills() {
    for (const kind of new Set(state.events.map((event) => event.kind))) {
      if (!pills.has(kind)) { pills.set(kind, pill(kind)); chips.append(pills.get(kind)); }
    }
    for (const [kind, chip] of pills) chip.setAttribute("aria-pressed", state.chosen.has(kind));
  }
  return framed(state, root, {
    paint(change) {
      if (change.fresh) { rows.clear(); pills.clear(); chips.replaceChildren(); body.replaceChildren(); }
      paintPills();
      if (document.activeElement !== box) box.value = state.text;
      tick.checked = state.only;
      const found = shownEvents(state), kept = new Set(found.map((event) => event.seq));
      for (const [seq, node] of rows) if (!kept.has(seq)) { node.remove(); rows.delete(seq); }
      found.forEach((event, i) => {
        if (!rows.has(event.seq)) rows.set(event.seq, eventRow(state, event));
        if (body.children[i] !== rows.get(event.seq)) body.insertBefore(rows.get(event.seq), body.children[i] ?? null);
      });
      write(title, state.span ? `events of ${spanWords(state.span)}` : "events");
      write(hint, state.events.length ? "No such event is kept." : state.span ? "Nothing happened in this span of time." : "Nothing has happened yet.");
      if (found.length) hint.remove(); else body.append(hint);
    },
    choose: again,
    tick() {},
  });
}

export default live({ newState: newStream, take: takeStream, view });
