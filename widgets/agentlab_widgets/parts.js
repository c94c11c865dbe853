// Views that are made of named parts (parts.py): what a browser keeps of them.

/** @param {State} state @param {Record<string, any>} message @returns {Change | null} */
function takeParts(state, message) {
  state.label = message.label;
  if (message.t === "snapshot") {
    state.parts = new Map(Object.entries(message.parts));
    return { ...EVERYTHING, touched: [...state.parts.keys()], grown: {}, gone: [] };
  }
  if (message.t !== "difference") return { touched: [], grown: {}, gone: [] };
  for (const name of message.gone) state.parts.delete(name);
  for (const [name, value] of Object.entries(message.set)) state.parts.set(name, value);
  for (const [name, more] of Object.entries(message.grown)) {
    const part = state.parts.get(name);
    if (!part) return null;
    state.parts.set(name, { ...part, text: part.text + more });
  }
  return { touched: [...Object.keys(message.set), ...Object.keys(message.grown)], grown: message.grown, gone: message.gone };
}

const newParts = () => ({ parts: new Map() });

/**
 * A length of time as short as it goes: 12 ms, 3.4 s, 2 min.
 * @param {number | null | undefined} seconds
 */
function lasting(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.0995) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 99.5) return `${Number(seconds.toPrecision(2))} s`;
  return seconds < 5970 ? `${Math.round(seconds / 60)} min` : `${Number((seconds / 3600).toPrecision(2))} h`;
}

const clockTime = (ms) => new Date(ms).toLocaleTimeString("en-GB");
/** What a span of time is called. @param {number[]} span seconds since 1970 */
const spanWords = (span) => `${clockTime(span[0] * 1000)} to ${clockTime(span[1] * 1000)}`;
const some = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/**
 * The frame of a view of one agent: who it is, whether the picture is live, and what the last click did.
 * @param {State} state
 * @param {string} name
 * @param {string} title
 */
function agentFrame(state, name, title) {
  const root = make("section", `agentlab ${name}`), top = make("div", "al-top"), mark = make("span"), who = make("b");
  const what = make("span", "al-dim"), beat = make("span", "al-pulse"), body = make("div", "al-body"), said = make("div", "al-said");
  const code = make("code"), result = make("span");
  root.setAttribute("aria-label", title);
  root.dataset.lmSuppressShortcuts = "true"; // else keys that are typed here run the notebook's commands
  said.setAttribute("aria-live", "polite");
  said.append(code, " ", result);
  top.append(mark, who, what, make("span", "al-fill"), beat);
  root.append(top, body);
  let shape = "";
  function update(head) {
    write(who, state.label);
    who.title = state.label; // it may be cut
    if (head) {
      if (shape !== head.status) { shape = head.status; mark.replaceChildren(icon(head.shape, head.colour)); }
      write(what, head.about);
    }
    write(beat, pulse(state));
    const [, long] = over(state);
    write(code, long ? "" : state.log.code);
    write(result, long ?? state.log.text);
    said.hidden = !code.textContent && !result.textContent;
    result.className = long || state.log.busy ? "al-busy" : state.log.ok ? "al-ok" : "al-failed";
  }
  return { root, body, said, update };
}
