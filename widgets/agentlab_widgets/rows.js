// Few agents, or those that were found among many: a row for each, under its supervisor, with all there is to say in one line.

const INDENT = 18, LINE = 28; // px

const COLUMNS = ["agent", "kind", "status", "incarnation", "restarts", "mailbox", "node", "last exit"];

function guides(state, slot) {
  const level = state.mode === "cells" ? 0 : state.depth[slot], width = Math.max(level, 0) * INDENT;
  let path = "", child = slot;
  for (let at = level; at > 0; at--, child = state.parents[child]) {
    const x = (at - 1) * INDENT + 8, last = state.last.has(child);
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

function rowsView(state, host, select, again) {
  const body = make("div", "al-rows"), head = make("div", "al-row al-head"), lines = new Map();
  const tops = COLUMNS.map((name) => {
    const button = make("button", "al-sort", name);
    button.type = "button";
    button.addEventListener("click", () => {
      const { sift } = state, same = sift.sort === name; // down, up, as the tree is
      Object.assign(sift, same && sift.up ? { sort: "", up: false } : { sort: name, up: same });
      again();
    });
    return button;
  });
  head.append(...tops);
  const pages = pager(state, again);
  let reached = -1; // who was selected when it was last brought into sight: the scroll is a person's until another is
  host.setAttribute("role", "group"); // it takes the keys; what sorts and what turns pages are no items of a tree
  body.setAttribute("role", "tree");
  body.setAttribute("aria-label", "agents under their supervisors");
  host.append(head, body, pages.node);

  function line(slot) {
    const node = make("div", "al-row"), cells = COLUMNS.map((name) => make("span", `al-${name.replace(" ", "-")}`));
    const parts = { node, cells, spark: draw("path", { fill: state.crash }) };
    parts.guide = make("span", "al-guide"), parts.mark = make("span", "al-mark"), parts.name = make("span", "al-id");
    parts.fold = make("span", "al-fold"), parts.tally = make("span", "al-dim al-tally");
    parts.badge = make("span", "al-word"), parts.number = make("span", "al-number");
    cells[0].append(parts.guide, parts.fold, parts.mark, parts.name, parts.tally);
    parts.gauge = make("span", "al-gauge"), parts.used = make("i");
    parts.gauge.append(parts.used);
    cells[2].append(parts.badge);
    cells[4].append(parts.number, parts.gauge, draw("svg", { class: "al-spark", width: 60, height: 14 }, draw("path", { class: "al-ground", d: "M0,13.5H60" }), parts.spark));
    node.setAttribute("role", "treeitem");
    node.id = `al-${state.looker}-${slot}`;
    node.append(...cells);
    node.addEventListener("click", () => select(slot));
    parts.fold.addEventListener("click", () => fold(state, slot, again));
    cells[7].addEventListener("click", () => select(slot, { trace: true }));
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
    write(parts.name, state.mode === "cells" ? facts.path : facts.id);
    write(parts.cells[1], [supervisor ? facts.strategy ?? facts.cls : facts.cls, facts.mark, facts.letters]
      .filter(Boolean).join(" · "));
    parts.name.title = facts.path, parts.cells[1].title = parts.cells[1].textContent; // both may be cut
    write(parts.badge, words(facts.status));
    const folded = supervisor && state.sift.folded.has(facts.path) && !sifting(state);
    write(parts.fold, supervisor && state.children.has(slot) && !sifting(state) ? (folded ? "▸" : "▾") : "");
    write(parts.tally, folded ? below(state, slot) : "");
    if (supervisor) parts.node.setAttribute("aria-expanded", !folded);
    parts.node.classList.toggle("al-faint", Boolean(state.hit && !state.hit.has(slot)));
    parts.gauge.hidden = !facts.intensity;
    if (facts.intensity) {
      parts.used.style.width = `${Math.min(100, (100 * used) / Math.max(1, most))}%`;
      parts.gauge.title = `${used} of ${restartsOf(most)} in ${seconds} s are used; one more than that, and it gives up`;
    }
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
    const kept = new Set(state.shown);
    pages.update();
    for (const [slot, parts] of lines) if (!kept.has(slot) || !state.facts.has(slot)) { parts.node.remove(); lines.delete(slot); }
    tops.forEach((button, i) => {
      const chosen = COLUMNS[i] === state.sift.sort;
      button.dataset.way = chosen ? (state.sift.up ? "up" : "down") : "";
      button.title = chosen ? (state.sift.up ? "back to the order of the tree" : "sort the other way round") : `sort siblings by ${COLUMNS[i]}`;
    });
    state.shown.forEach((slot, i) => {
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
    if (!calm()) node?.querySelector(".al-icon")?.animate([{ transform: "scale(1.7)" }, { transform: "scale(1)" }], { duration: 500, easing: "ease-out" });
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
      if (state.selected !== reached && chosen) bringInto(host, head, chosen);
      reached = chosen ? state.selected : -1;
    },
    dispose() {},
  };
}

// Scrolls the tree alone: the notebook around it shows what its reader looks at.
function bringInto(host, head, node) {
  const from = head.getBoundingClientRect().bottom, to = host.getBoundingClientRect().bottom, { top, bottom } = node.getBoundingClientRect();
  if (top < from) host.scrollTop -= from - top;
  else if (bottom > to) host.scrollTop += bottom - to;
}

function fold(state, slot, again) {
  const path = state.facts.get(slot)?.path;
  if (!path || sifting(state)) return;
  if (!state.sift.folded.delete(path)) state.sift.folded.add(path);
  again();
}
