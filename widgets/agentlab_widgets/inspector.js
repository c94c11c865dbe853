// One agent seen closely (inspector.py). Each part is a section that is drawn anew when it changes; what is folded stays
// as the reader left it.

const open = new Map(); // which folds the reader opened or closed, by name
const typed = new Map(); // what the reader has typed, by name

function fold(key, starts, line, ...inside) {
  const node = make("details"), summary = make("summary");
  summary.append(...line);
  node.append(summary, ...inside);
  summary.dataset.key = key;
  node.open = open.get(key) ?? starts;
  node.addEventListener("toggle", () => open.set(key, node.open));
  return node;
}

function value(node, key, changed = false, depth = 0) {
  const name = make("span", `al-name${changed ? " al-changed" : ""}`, node.n), type = make("span", "al-dim", node.t);
  if (changed) name.title = "the last message changed it";
  if (!node.c) {
    const line = make("div", "al-value"), text = make("span", "al-shown", node.v);
    line.append(name, type, text);
    return line;
  }
  const inside = node.c.map((each) => value(each, `${key}/${each.n}`, false, depth + 1));
  if (node.more > 0) inside.push(make("div", "al-hint", `… ${count(node.more)} more`));
  return fold(key, depth < 1 && node.c.length < 12, [name, type], ...inside);
}

function section(title, note, ...inside) {
  const node = make("div", "al-part"), head = make("div", "al-title", title); // no heading: what stands above it in the page is not ours
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", title);
  if (note) head.append(make("span", "al-dim", note));
  node.append(head, ...inside);
  return node;
}

const ago = (state, at) => `${lasting(Math.max(0, (state.now - at) / 1000))} ago`;

function parts(state, act) {
  const get = (name) => state.parts.get(name), press = (label, message, name) => {
    const button = make("button", "", label);
    button.type = "button";
    button.setAttribute("aria-label", name ?? label);
    button.dataset.key = name ?? label;
    button.addEventListener("click", () => act(message(button)));
    return button;
  };
  const row = (...cells) => { const node = make("div", "al-line"); node.append(...cells.map((cell) => (typeof cell === "string" ? make("span", "", cell) : cell))); return node; };
  return {
    asks() {
      const { approvals, doubts } = get("asks") ?? { approvals: [], doubts: [] };
      if (!approvals.length && !doubts.length) return null;
      return section("waits for a person", "", ...approvals.map((ask) => row(make("b", "", ask.name), make("code", "al-grow", ask.input),
        press("allow", () => ({ t: "do", what: "approve", n: ask.step, asks: ask }), `allow ${ask.name}`), press("refuse", () => ({ t: "do", what: "refuse", n: ask.step, asks: ask }), `refuse ${ask.name}`))),
      ...doubts.map((doubt) => {
        const box = make("input"), key = `doubt/${doubt.step}/${doubt.began}`;
        box.dataset.key = key;
        box.value = typed.get(key) ?? "";
        box.addEventListener("input", () => typed.set(key, box.value));
        box.placeholder = "what it gave";
        box.setAttribute("aria-label", `what ${doubt.name} gave`);
        return row(make("b", "", doubt.name), make("span", "al-grow al-dim", `of ${doubt.message} began and did not finish: did it happen?`), box,
          press("it happened", () => ({ t: "do", what: "settle", n: doubt.step, asks: doubt, text: box.value })), press("run it", () => ({ t: "do", what: "retry", n: doubt.step, asks: doubt })));
      }));
    },
    hand() {
      const hand = get("hand");
      if (!hand) return null;
      const node = section("message in hand", `${hand.method}${hand.sender ? ` from ${hand.sender}` : ""}, since ${clockTime(hand.at)}${hand.tries > 1 ? `, delivery ${hand.tries}` : ""}`);
      if (hand.parked) node.append(make("pre", "al-hot", hand.parked));
      hand.steps.forEach((step, i) => node.append(fold(`step/${hand.at}/${i}`, false,
        [make("span", "al-name", step.name), make("span", "al-dim", step.kind), make("span", `al-step al-step-${step.state}`, [step.state, step.fault].filter(Boolean).join(": ")), make("span", "al-dim", lasting(step.took))],
        make("div", "al-label", "given"), make("pre", "", step.given), make("div", "al-label", "gave"), make("pre", "", step.gave))));
      return node;
    },
    state() {
      const told = get("state");
      if (!told) return null;
      const two = make("div", "al-two"), left = make("div"), right = make("div");
      left.append(make("div", "al-label", "committed"), ...told.fields.map((field) => value(field, `state/${field.n}`, told.changed.includes(field.n))));
      two.append(left);
      if (told.draft.length) { right.append(make("div", "al-label", "draft, not committed"), ...told.draft.map((field) => value(field, `draft/${field.n}`))); two.append(right); }
      return section("state", told.changed.length ? `the last commit changed ${told.changed.join(", ")}` : "", two);
    },
    mailbox() {
      const box = get("mailbox");
      if (!box?.count) return null;
      return section("mailbox", some(box.count, "message"), ...box.letters.slice(0, 20).map((letter) => row(make("b", "", letter.method), make("span", "al-grow al-dim", letter.sender ? `from ${letter.sender}` : ""), make("span", "al-dim", ago(state, letter.at)))));
    },
    lives() {
      const lives = get("lives") ?? [];
      const line = make("div", "al-lives");
      line.append(...lives.map((life) => { const dot = make("span", `al-life al-end-${life.how || "lives"}`, `${life.n}`); dot.title = life.how ? `${life.how}: ${life.why}` : "lives"; return dot; }));
      const ended = lives.filter((life) => life.how).reverse().slice(0, 10);
      return section("incarnations", "", line, ...ended.map((life) => fold(`life/${life.from}`, false,
        [make("b", "", `#${life.n}`), make("span", "al-dim", `${clockTime(life.from)}, ${lasting((life.to - life.from) / 1000)}`), make("span", "al-grow", `${life.how}: ${life.why}`)], make("pre", "", life.trace || "no traceback"))));
    },
    checkpoints() {
      const points = get("checkpoints") ?? [], diff = get("diff");
      if (!points.length) return null;
      const node = section("checkpoints", "set it back, or let another go on from there");
      points.slice(0, 12).forEach((point, i) => node.append(row(make("b", "", `${point.seq}`), make("span", "al-grow al-dim", `${clockTime(point.at)} · incarnation ${point.life} · ${some(point.bytes, "byte")}`),
        ...(points[i + 1] ? [press("changes", () => ({ t: "compare", before: points[i + 1].seq, after: point.seq }), `what checkpoint ${point.seq} changed`)] : []),
        ...(i ? [press("since", () => ({ t: "compare", before: point.seq, after: points[0].seq }), `what has changed since checkpoint ${point.seq}`),
          press("rewind", () => ({ t: "do", what: "rewind", n: point.seq }), `rewind to checkpoint ${point.seq}`)] : []),
        press("fork", () => ({ t: "do", what: "fork", n: point.seq }), `fork from checkpoint ${point.seq}`))));
      if (diff?.fields) {
        node.append(make("div", "al-label", `from checkpoint ${diff.before} to ${diff.after}${diff.fields.length ? "" : ": nothing differs"}`));
        node.append(...diff.fields.map((field) => row(make("b", "", field.n), make("del", "", field.was), make("ins", "al-grow", field.is))));
      }
      return node;
    },
    log() { return get("log")?.text ? section("log", "", make("pre", "al-log", get("log").text)) : null; },
    ties() {
      const ties = get("ties");
      if (!ties) return null;
      const said = [["links", ties.links.join(", ")], ["monitors", ties.monitors.join(", ")], ["links and monitors", ties.untold], ["budget", ties.budget]].filter(([, text]) => text);
      return section("ties and budget", "", ...said.map(([name, text]) => row(make("b", "", name), make("span", "al-grow", text))));
    },
  };
}

const NEEDS = { checkpoints: ["checkpoints", "diff"] };

function view(state, model, el) {
  const frame = agentFrame(state, "agentlab-inspector", "inspector"), { body } = frame, buttons = make("div", "al-buttons"), why = make("div", "al-reason");
  const makers = parts(state, (message) => send(state, model, message)), places = new Map();
  for (const name of Object.keys(makers)) { const place = make("div"); places.set(name, place); body.append(place); }
  body.tabIndex = 0;
  frame.root.insertBefore(buttons, body);
  frame.root.insertBefore(why, body);
  frame.root.append(frame.said);
  el.append(frame.root);
  function redraw(names) {
    keepingKeys(body, () => {
      for (const name of names) {
        const node = makers[name]();
        places.get(name).replaceChildren(...(node ? [node] : []));
      }
    }, body);
  }
  return framed(state, frame.root, {
    paint(change) {
      const stale = Object.keys(makers).filter((name) => change.fresh || (NEEDS[name] ?? [name]).some((need) => change.touched.includes(need) || change.gone?.includes(need)));
      redraw(stale);
    },
    tick() {
      const head = state.parts.get("head"), live = mood(state) === "live";
      frame.update(head);
      for (const action of head?.actions ?? []) {
        /** @type {HTMLButtonElement | null} */
        let button = buttons.querySelector(`.al-do-${action}`);
        if (!button) {
          button = make("button", `al-do-${action}`, action);
          button.type = "button";
          button.addEventListener("click", () => send(state, model, { t: "do", what: action }));
          buttons.append(button);
        }
        allow(button, live && !state.log.busy && head.can.includes(action));
      }
      for (const button of body.querySelectorAll("button")) allow(button, live);
      write(why, head?.reason ? `last exit: ${head.reason}` : "");
      why.hidden = !head?.reason;
    },
    slowTick() { // ages grow without any change
      redraw(["mailbox"]);
    },
  });
}

export default live({ newState: newParts, take: takeParts, view });
