// Which rows of the tree are shown, and in which order: words that somebody searches for, statuses that were chosen,
// supervisors that are folded, a column to sort by. Of few agents all facts are here; of many the kernel is asked.

const PAGE = 100; // rows of one page of a large list
const FIELDS = { path: (row) => row.path, kind: (row) => `${row.kind === "supervisor" ? "supervisor " : ""}${row.cls} ${row.strategy ?? ""}`,
  status: (row) => words(row.status), node: (row) => String(row.node ?? ""), exit: (row) => row.reason };
const SORTS = {
  agent: (row) => row.id.toLowerCase(), kind: (row) => row.cls.toLowerCase(), status: (row) => row.status, incarnation: (row) => -row.incarnation,
  restarts: (row) => -row.restarts, mailbox: (row) => -row.mailbox, node: (row) => row.node ?? -1, "last exit": (row) => row.reason || "\uffff",
};

const newSift = () => ({ text: "", statuses: new Set(), folded: new Set(), sort: "", up: false, page: 0, found: null, asked: "" });

// Words that must all be there: `w1 kind:Writer status:parked`, each `field:` as in FIELDS, without one anywhere.
function wordsOf(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const at = word.indexOf(":"), field = word.slice(0, at);
    return at > 0 && FIELDS[field] ? [field, word.slice(at + 1)] : ["", word];
  });
}

function matches(row, terms) {
  return terms.every(([field, word]) => (field ? [FIELDS[field]] : Object.values(FIELDS)).some((of) => of(row).toLowerCase().includes(word)));
}

const sifting = (state) => state.sift.text.trim() !== "" || state.sift.statuses.size > 0;

// What a list shows: slots from the top, the levels at which they stand, who is the last of its family, who was found.
function arrangeRows(state) {
  const { sift } = state, terms = wordsOf(sift.text), wanted = sifting(state);
  const hit = new Set(), kept = new Set();
  if (wanted) for (const slot of state.order) {
    const row = state.facts.get(slot);
    if (!row || !matches(row, terms) || (sift.statuses.size && !sift.statuses.has(row.status))) continue;
    hit.add(slot);
    for (let at = slot; at >= 0 && !kept.has(at); at = state.parents[at]) kept.add(at);
  }
  const order = [], last = new Set(), walk = [-1], compare = SORTS[sift.sort];
  while (walk.length) {
    const slot = walk.pop() ?? -1;
    if (slot >= 0) order.push(slot);
    if (!wanted && slot >= 0 && sift.folded.has(state.facts.get(slot)?.path)) continue;
    let family = Array.from(state.children.get(slot) ?? []).filter((child) => !wanted || kept.has(child));
    if (compare) family = sorted(state, family, compare);
    if (family.length) last.add(family[family.length - 1]);
    for (let i = family.length - 1; i >= 0; i--) walk.push(family[i]);
  }
  Object.assign(state, { shown: order, last, hit: wanted ? hit : null });
}

// Equal ones stay in the order of the tree.
function sorted(state, family, of) {
  const key = new Map(family.map((slot) => [slot, state.facts.has(slot) ? of(state.facts.get(slot)) : ""]));
  const way = state.sift.up ? -1 : 1;
  return [...family].sort((a, b) => (key.get(a) < key.get(b) ? -way : key.get(a) > key.get(b) ? way : 0));
}

// How many of the agents below a folded supervisor are in which status.
function below(state, slot) {
  const counts = new Map(), walk = Array.from(state.children.get(slot) ?? []);
  while (walk.length) {
    const at = walk.pop();
    if (!(state.looks[at] & SUPERVISOR)) counts.set(state.looks[at] & STATUS, (counts.get(state.looks[at] & STATUS) ?? 0) + 1);
    walk.push(...(state.children.get(at) ?? []));
  }
  return [...counts].sort(([a], [b]) => a - b).map(([byte, n]) => `${count(n)} ${words(state.statuses[byte]?.[0] ?? "unknown")}`).join(", ");
}

// Whether rows are shown: of few agents, and of those that were looked for among many.
const listed = (state) => state.mode !== "cells" || (sifting(state) && state.sift.found !== null);

// Among many agents the kernel searches; it answers with one page of rows.
function find(state, model) {
  const { sift } = state, word = JSON.stringify([sift.text, [...sift.statuses].sort(), sift.page]);
  state.stale = false;
  if (!sifting(state)) return Object.assign(sift, { found: null, asked: "" });
  sift.asked = word;
  send(state, model, { t: "find", word, text: sift.text, statuses: [...sift.statuses], from: sift.page * PAGE, most: PAGE });
}

function pager(state, again) {
  const node = make("div", "al-pages"), back = make("button", "", "← before"), said = make("span"), on = make("button", "", "after →");
  back.type = on.type = "button";
  const turn = (by) => { state.sift.page += by; again(); };
  back.addEventListener("click", () => turn(-1));
  on.addEventListener("click", () => turn(1));
  node.append(back, said, on);
  function update() {
    const { found } = state.sift, most = found ? Math.min(found.total, found.from + PAGE) : 0;
    node.hidden = state.mode !== "cells" || !found || found.total <= PAGE;
    if (node.hidden) return;
    write(said, `${count(found.from + 1)} to ${count(most)} of ${count(found.total)}`);
    allow(back, found.from > 0);
    allow(on, most < found.total);
  }
  return { node, update };
}

// The box to search in, and what it found.
function searchBox(state, again) {
  const node = make("span", "al-search"), box = make("input"), said = make("span", "al-dim");
  box.type = "search";
  box.placeholder = "search: name, kind:Writer";
  box.setAttribute("aria-label", "search agents by name, or by kind:, status:, path:, node:, exit:");
  said.setAttribute("aria-live", "polite");
  box.addEventListener("input", () => { state.sift.text = box.value; state.sift.page = 0; again(); });
  node.append(said, box);
  function update() {
    if (box.value !== state.sift.text && document.activeElement !== box) box.value = state.sift.text;
    const found = state.mode === "cells" ? state.sift.found?.total : state.hit?.size;
    write(said, sifting(state) && found !== undefined ? (found ? `${count(found)} found` : "nobody found") : "");
  }
  return { node, box, update };
}
