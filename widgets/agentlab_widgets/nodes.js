// The nodes of a lab, a line each between the tree and what is selected, under a line that says how many there are.

const WELL = new Set(["running", "starting"]);

// One line for all of them: how many, and how many of those are not well.
function nodesTold(nodes) {
  const ill = nodes.filter((node) => !WELL.has(node.state)).map((node) => `${node.name} ${node.state}`);
  const n = nodes.reduce((sum, node) => sum + node.nodes, 0);
  return `${count(n)} node${n === 1 ? "" : "s"}${ill.length ? `: ${ill.join(", ")}` : ""}`;
}

/** @param {State} state */
function nodes(state) {
  const node = make("div", "al-nodes"), all = make("button", "al-nodes-all"), list = make("div"), lines = new Map();
  let open = false;
  all.type = "button";
  all.title = "show or hide the processes in which agents live";
  all.addEventListener("click", () => { open = !open; update(); });
  node.append(all, list);
  function line(name) {
    const parts = { node: make("div", "al-home"), status: make("span", "al-word"), why: make("span", "al-why") };
    parts.node.dataset.node = name;
    parts.node.append(make("span", "al-kind", "node"), make("b", "", name), parts.status, parts.why);
    list.append(parts.node);
    return parts;
  }
  function update() {
    const found = state.nodes ?? [], there = new Set(found.map((each) => each.name));
    node.hidden = !found.length;
    all.setAttribute("aria-expanded", String(open));
    list.hidden = !open;
    write(all, nodesTold(found));
    node.dataset.ill = String(found.some((each) => !WELL.has(each.state)));
    for (const [name, parts] of lines) if (!there.has(name)) { parts.node.remove(); lines.delete(name); }
    for (const each of found) {
      if (!lines.has(each.name)) lines.set(each.name, line(each.name));
      const parts = lines.get(each.name);
      parts.node.dataset.state = each.state;
      parts.node.style.setProperty("--al-status", each.colour);
      write(parts.status, each.state);
      write(parts.why, each.about);
      parts.why.title = each.about;
    }
  }
  return { node, update };
}
