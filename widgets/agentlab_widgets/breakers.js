// The breakers of a lab, a line each between the tree and what is selected: state, who waits, why, and two buttons.

const BREAKER_EFFECT = { open: "let nobody through until it is closed: agents wait in their steps", close: "let calls through again" };

function breakers(state, model) {
  const node = make("div", "al-breakers"), lines = new Map();
  function line(name) {
    const parts = { node: make("div", "al-breaker"), name: make("b", "", name), status: make("span", "al-word"), why: make("span", "al-why"), buttons: new Map() };
    parts.node.dataset.breaker = name;
    parts.node.append(make("span", "al-kind", "breaker"), parts.name, parts.status, parts.why);
    for (const what of ["open", "close"]) {
      const button = make("button", `al-breaker-${what}`, what);
      button.type = "button";
      button.title = BREAKER_EFFECT[what];
      button.addEventListener("click", () => send(state, model, { t: "breaker", name, what }));
      parts.buttons.set(what, button);
      parts.node.append(button);
    }
    node.append(parts.node);
    return parts;
  }
  function update() {
    const there = new Set((state.breakers ?? []).map((breaker) => breaker.name));
    for (const [name, parts] of lines) if (!there.has(name)) { parts.node.remove(); lines.delete(name); }
    for (const breaker of state.breakers ?? []) {
      if (!lines.has(breaker.name)) lines.set(breaker.name, line(breaker.name));
      const parts = lines.get(breaker.name), idle = mood(state) !== "live" || state.log.busy;
      parts.node.dataset.state = breaker.state;
      parts.node.style.setProperty("--al-status", breaker.colour);
      write(parts.status, breaker.status);
      write(parts.why, breaker.why);
      parts.why.title = breaker.why;
      allow(parts.buttons.get("open"), !idle && breaker.state !== "open");
      allow(parts.buttons.get("close"), !idle && breaker.state !== "closed");
    }
  }
  return { node, update };
}
