// The conversation of an agent (transcript.py). Turns are redrawn when they change; text that streams in is added at
// the end, and read as Markdown, never as markup. What is folded stays as the reader left it.

const NEAR = 60; // px from the end within which the view follows what comes

function bubble(entry) {
  const node = make("div", `al-entry al-${entry.k}`), who = make("span", "al-who", { user: "user", assistant: "agent", repair: "told to do better", thinking: "thinks", item: "item", image: "image", note: "image" }[entry.k] ?? entry.k);
  const text = make("div", "al-text");
  if (entry.k === "image") {
    const picture = make("img");
    picture.src = `data:${entry.media};base64,${entry.data}`;
    picture.alt = entry.text;
    text.append(picture);
  } else if (entry.k === "item") text.append(make("pre", "", entry.text));
  else text.append(...markdown(entry.text).map(drawn));
  node.append(who, text);
  return node;
}

function mark(entry) {
  const node = make("div", `al-entry al-event al-event-${entry.kind}`);
  node.append(make("span", "al-what", entry.what), make("span", "al-why", entry.text), make("time", "", clockTime(entry.at)));
  return node;
}

const HELD = { code: "", text: "No word from the kernel: this is sent when it answers.", ok: true, busy: true };

const STATES = { runs: "runs", asks: "waits for a person", done: "", failed: "failed" };

function tool(entry, key, folds) {
  const node = make("details", `al-entry al-tool al-tool-${entry.state}`), line = make("summary");
  const facts = [STATES[entry.state], entry.attempts > 1 ? `${entry.attempts} attempts` : "", lasting(entry.took)].filter(Boolean).join(" · ");
  line.append(make("span", "al-name", entry.name), make("span", "al-given", entry.input.replace(/\s+/g, " ")), make("span", "al-dim", facts));
  node.append(line, make("div", "al-label", "given"), make("pre", "", entry.input));
  if (entry.result) node.append(make("div", "al-label", entry.state === "failed" ? "failed" : "gave"), make("pre", "", entry.result));
  line.dataset.key = key;
  node.open = folds.get(key) ?? false;
  node.addEventListener("toggle", () => folds.set(key, node.open));
  return node;
}

function turnLine(turn) {
  const said = [turn.sender ? `from ${turn.sender}` : "", turn.took === null ? "" : lasting(turn.took)];
  if (turn.deliveries > 1) said.push(`delivery ${turn.deliveries}`);
  if (turn.replayed) said.push(`${some(turn.replayed, "step")} not run again`);
  if (turn.in || turn.out) said.push(`${count(turn.in)} tokens in, ${count(turn.out)} out`);
  if (turn.cost !== null) said.push(`${turn.cost < 0.01 ? turn.cost.toPrecision(2) : turn.cost.toFixed(2)} $`);
  return said.filter(Boolean).join(" · ");
}

function drawTurn(turn, name, folds) {
  const node = make("article", "al-turn"), head = make("div", "al-turn-head");
  node.dataset.turn = name;
  node.dataset.outcome = turn.outcome;
  if (turn.method) {
    head.append(make("b", "", turn.method), make("span", "al-dim", turnLine(turn)));
    if (turn.outcome !== "ok") head.append(make("span", `al-outcome${turn.outcome === "in hand" ? "" : " al-hot"}`, turn.outcome));
    head.append(make("time", "", turn.at ? clockTime(turn.at) : ""));
    node.append(head);
  }
  turn.entries.forEach((entry, i) => node.append(entry.k === "mark" ? mark(entry) : entry.k === "tool" ? tool(entry, `${name}/${i}`, folds) : bubble(entry)));
  if (turn.error) node.append(make("pre", "al-error", turn.error));
  return node;
}

// One may always type, whatever the kernel does: what cannot be sent yet waits in the box, and goes when the kernel speaks.
function talkBox(state, model) {
  let waits = false;
  const form = make("form", "al-talk"), box = make("textarea"), button = make("button", "al-do-ask", "Send");
  form.hidden = true; // until it is known that somebody hears
  box.rows = 1;
  box.value = state.typed; // in the dashboard the box is made anew when one comes back to it
  box.setAttribute("aria-label", "say something to the agent");
  button.type = "submit";
  form.append(box, button);
  const grow = () => { box.style.height = "auto"; box.style.height = `${Math.min(box.scrollHeight + 2, 160)}px`; };
  const able = () => mood(state) === "live" && Boolean(state.parts.get("head")?.asks);
  const type = () => { state.typed = box.value; grow(); };
  box.addEventListener("input", () => { rest(); type(); });
  box.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); form.requestSubmit(); }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!box.value.trim() || state.closed) return;
    waits = !able() || !send(state, model, { t: "ask", text: box.value });
    if (waits) state.log = { ...HELD };
    else { box.value = ""; type(); }
  });
  function rest() { // who goes on typing has not finished: it is sent when Enter is pressed again
    if (waits && state.log.text === HELD.text) state.log = { ...HELD, text: "" };
    waits = false;
  }
  function update(head) {
    const [short] = over(state);
    form.hidden = !head?.asks && holder(box) !== box;
    box.readOnly = state.closed;
    box.placeholder = short ?? `${head?.asks ?? ""}(…): Enter sends, Shift+Enter is a new line`;
    allow(button, !state.closed);
    write(button, waits && !state.closed ? "Waits" : "Send");
    if (waits && able()) form.requestSubmit();
  }
  return { form, update };
}

function view(state, model, el) {
  const frame = agentFrame(state, "agentlab-transcript", "transcript"), { body } = frame, talk = talkBox(state, model), asks = asksBar(state, model);
  const turns = make("div", "al-turns"), live = make("div", "al-entry al-assistant al-streams"), earlier = make("div", "al-hint");
  const cuts = make("div"), text = make("div", "al-text"), drawnTurns = new Map(), folds = new Map();
  body.tabIndex = 0;
  body.setAttribute("role", "log");
  body.setAttribute("aria-label", "conversation");
  live.append(make("span", "al-who", "agent"), text);
  body.append(earlier, turns, cuts, live);
  frame.root.append(asks.node, talk.form, frame.said);
  el.append(frame.root);

  function place(names) {
    for (const [name, node] of drawnTurns) if (!state.parts.has(name)) { node.remove(); drawnTurns.delete(name); }
    const order = [...state.parts.keys()].filter((name) => name.startsWith("turn:")).sort((a, b) => number(a) - number(b));
    for (const name of names) {
      if (!state.parts.has(name)) continue;
      const node = drawTurn(state.parts.get(name), name, folds);
      drawnTurns.get(name)?.replaceWith(node);
      drawnTurns.set(name, node);
    }
    order.forEach((name, i) => { if (turns.children[i] !== drawnTurns.get(name)) turns.insertBefore(drawnTurns.get(name), turns.children[i] ?? null); });
  }
  const number = (name) => (name === "turn:hand" ? Infinity : Number(name.slice(5)));

  return framed(state, frame.root, {
    paint(change) {
      const follows = body.scrollHeight - body.scrollTop - body.clientHeight < NEAR || change.fresh;
      const names = change.fresh ? [...state.parts.keys()] : change.touched;
      const part = state.parts.get("live") ?? { text: "", cuts: [] }, head = state.parts.get("head");
      if (names.some((name) => name.startsWith("turn:")) || change.gone?.length) keepingKeys(turns, () => place(names.filter((name) => name.startsWith("turn:"))), body);
      if (names.includes("live")) {
        live.hidden = !part.text.trim();
        text.replaceChildren(...markdown(part.text).map(drawn));
        cuts.replaceChildren(...part.cuts.map((cut) => {
          const node = make("div", "al-entry al-cut");
          node.append(make("span", "al-who", "cut off, and begun again"), make("div", "al-text", cut));
          return node;
        }));
      }
      earlier.hidden = !head?.earlier && turns.children.length > 0;
      write(earlier, head?.earlier ? `${some(head.earlier, "earlier item")} not shown: ref.state has them` : "Nothing was said yet.");
      if (follows) body.scrollTop = body.scrollHeight;
    },
    tick() { frame.update(state.parts.get("head")); talk.update(state.parts.get("head")); asks.update(state.parts.get("asks")); },
  });
}

export default live({ newState: () => ({ ...newParts(), typed: "" }), take: takeParts, view });
