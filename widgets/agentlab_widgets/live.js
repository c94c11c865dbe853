// What all live views share. The kernel owns the state, the browser only draws it: a view keeps its last picture
// (`state`, shared by all views of one widget), applies differences in order, asks for everything when one is missing,
// and turns grey when the kernel is silent or gone. Text from agents goes into the page as text only.
//
// To add a view: `export default live({ newState, take, view })` at the end of its file.
//   newState()                     what it keeps, beside what newLine() has
//   take(state, message, buffers)  apply a snapshot or a difference; what changed, or null to be told everything
//   aside(state, message)          take an answer that is no part of the picture; what changed, if anything did
//   view(state, model, el)         draw into an element; see `framed`

const PRESS = 1000; // ms for which a press holds up what is drawn, at most
const SILENCE = 2000; // ms without a word after which the picture may be wrong
const GONE_WORDS = {
  restarted: ["the kernel was restarted: run this cell again", "The kernel was restarted, and this lab ended with it. Make the lab again, then run this cell again."],
  gone: ["the kernel is gone: start one, run this cell again", "The kernel is gone, and this lab ended with it. Start a kernel, make the lab again, then run this cell again."],
};
const CLOSED = "The lab is closed; this is how it was, and nothing can be done to it any more.";

/**
 * What a view is drawn from: the line to the kernel, and what `newState` of the view adds.
 * @typedef {ReturnType<typeof newLine> & Record<string, any>} State
 * @typedef {{send: (message: object) => void, widget_manager?: {kernel: any}} & Record<string, any>} Model  anywidget's
 * @typedef {{touched: any[], crashed?: any[], fresh?: boolean, moved?: boolean} & Record<string, any>} Change
 */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {string} [name] its classes
 * @param {string} [text]
 */
const make = (tag, name, text) => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
};
/**
 * @param {string} tag of SVG
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
const draw = (tag, attributes, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
};
/** What draws on a canvas. @type {(canvas: HTMLCanvasElement) => CanvasRenderingContext2D} */
const penOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
/** @type {(node: Node, text: string) => void} */
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
/**
 * @template T
 * @param {DataView} view
 * @param {new (buffer: ArrayBufferLike) => T} Kind
 */
const numbers = (view, Kind) => new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
/** @type {(status: string) => string} */
const words = (status) => status.replace("_", " ");
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches; // a colour may fade then, nothing may move
/** @type {(n: number) => string} */
const count = (n) => n.toLocaleString("en");

/** @param {string} shape @param {string} colour */
function icon(shape, colour) {
  return draw("svg", { class: "al-icon", viewBox: "-1.3 -1.3 2.6 2.6", "aria-hidden": "true" }, draw("path", { d: shape, fill: colour }));
}

// ---------------------------------------------------------------- where the keys are

/** Whose keys are pressed, in the page or in the shadow that a part of it is in. @type {(node: Node) => any} */
const holder = (node) => /** @type {Document} */ (node.getRootNode()).activeElement;

/**
 * Draw anew what somebody's keys may be on: they stay on what has the same `data-key` afterwards, else go to `otherwise`.
 * @param {HTMLElement} host
 * @param {() => void} redraw
 * @param {HTMLElement} otherwise
 */
function keepingKeys(host, redraw, otherwise) {
  const held = holder(host), within = host.contains(held);
  redraw();
  if (!within || holder(host) === held) return;
  const same = [...host.querySelectorAll("[data-key]")].find((each) => each.getAttribute("data-key") === held.dataset.key);
  const heir = host.contains(held) ? held : same;
  (heir ?? otherwise).focus({ preventScroll: true });
}

/**
 * Say whether a button may be pressed. One that is disabled loses the keys that are on it: then it only says so until
 * they have left, and `framed` takes no click on it.
 * @param {HTMLButtonElement} button
 * @param {boolean} may
 */
function allow(button, may) {
  button.disabled = !may && holder(button) !== button;
  button.setAttribute("aria-disabled", String(!may));
}

/** @param {Event} event */
function refuse(event) {
  if (!/** @type {HTMLElement} */ (event.target).closest("[aria-disabled='true']")) return;
  event.preventDefault();
  event.stopPropagation();
}

// ---------------------------------------------------------------- the line to the kernel

function newLine() {
  /** @type {() => any} */
  const kernel = () => undefined;
  return {
    looker: Math.random().toString(36).slice(2), seq: -1, label: "", closed: false, now: 0, heard: 0, asked: 0, cut: false,
    kernel, log: { code: "", text: "", ok: true, busy: false }, views: new Set(), awake: true,
  };
}

/**
 * What a message changes; null if it was out of order, and everything was asked for.
 * @param {State} state
 * @param {Model} model
 * @param {Record<string, any>} message
 * @param {DataView[]} buffers
 * @param {(state: State, message: Record<string, any>, buffers: DataView[]) => Change | null} take
 * @param {(state: State, message: Record<string, any>) => Change | void} aside
 * @returns {Change | null}
 */
function receive(state, model, message, buffers, take, aside = () => {}) {
  if (message.t === "doing" || message.t === "did") {
    state.log = { code: message.code, text: message.text ?? "…", ok: message.ok ?? true, busy: message.t === "doing" };
    return { touched: [], crashed: [] };
  }
  if (message.seq === undefined) {
    return aside(state, message) ?? { touched: [], crashed: [] };
  }
  state.heard = performance.now();
  state.cut = false;
  const next = message.t === "difference" ? state.seq + 1 : state.seq;
  if (message.t !== "snapshot" && message.seq !== next) return ask(state, model);
  const change = take(state, message, buffers);
  if (!change) return ask(state, model);
  for (const key of ["seq", "now", "closed", "over"]) state[key] = message[key];
  return change;
}

/** @param {State} state @param {Model} model */
function ask(state, model) {
  if (performance.now() - state.asked > (state.seq < 0 ? 400 : 1000)) {
    state.asked = performance.now();
    send(state, model, { t: "hello", looker: state.looker });
  }
  return null;
}

/**
 * Whether a message went. The line to a kernel that was restarted cannot be used: it throws.
 * @param {State} state
 * @param {Model} model
 * @param {object} message
 */
function send(state, model, message) {
  try { model.send(message); } catch { state.cut = true; return false; }
  return true;
}

/**
 * Whether the kernel of this picture can still speak. A line that was cut may have been mended: then it is heard again.
 * @param {State} state
 */
function gone(state) {
  const kernel = state.kernel(); // undefined where the page does not say, null where there is none
  return kernel === null || kernel?.isDisposed || kernel?.status === "dead" ? "gone" : state.cut ? "restarted" : "";
}

/** @param {State} state */
function mood(state) {
  if (state.closed) return state.over ? "stored" : "closed";
  if (performance.now() - state.heard <= SILENCE) return "live";
  return gone(state) ? "gone" : state.awake ? "silent" : "live";
}

/**
 * What to say of a picture that is no live one, short and long; nothing of a live one.
 * @param {State} state
 * @returns {string[]}
 */
function over(state) {
  if (mood(state) === "gone") return GONE_WORDS[gone(state)];
  return state.closed ? state.over ?? ["the lab is closed", CLOSED] : [];
}

/** @param {State} state */
function pulse(state) {
  const silence = Math.round((performance.now() - state.heard) / 1000);
  const said = { live: "live", closed: "closed", stored: state.over?.[0], silent: `no word from the kernel for ${silence} s` };
  return said[mood(state)] ?? GONE_WORDS[gone(state)][0];
}

/** @type {Change} */
const EVERYTHING = { fresh: true, moved: true, touched: [], crashed: [] };

// What a view is to its widget: `paint(change)` draws only while somebody sees it; `tick()` is called twice a second.
// While a pointer is pressed on it nothing is drawn: a browser tells no click on what was made anew before it is let go.
function framed(state, root, { paint, tick, choose = () => {}, slowTick = () => {}, dispose = () => {} }) {
  let visible = true, late = false, pressed = 0;
  /** @type {Change[]} */
  const waiting = [];
  function letGo() {
    clearTimeout(pressed);
    pressed = 0;
    for (const change of waiting.splice(0)) self.update(change);
  }
  const self = {
    update(change) {
      if (!visible) { late = true; return; }
      if (pressed) { waiting.push(change); return; }
      paint(change);
      self.tick();
      root.dataset.painted = state.seq;
    },
    choose() { choose(); self.tick(); },
    tick() {
      if (!visible || pressed) return;
      root.dataset.mood = mood(state);
      tick();
    },
    slowTick() { if (visible) slowTick(); },
    visible: () => visible,
    dispose() { watcher.disconnect(); clearTimeout(pressed); dispose(); state.views.delete(self); },
  };
  const watcher = new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting; // a busy page is told of several moves at once, the last one last
    if (visible && late && state.seq >= 0) { late = false; self.update(EVERYTHING); }
  });
  watcher.observe(root);
  root.addEventListener("pointerdown", () => { pressed ||= setTimeout(letGo, PRESS); }, true);
  root.addEventListener("click", () => { if (pressed) { clearTimeout(pressed); pressed = 0; setTimeout(letGo); } }, true);
  root.addEventListener("click", refuse, true);
  state.views.add(self);
  if (state.seq >= 0) self.update(EVERYTHING);
  return self;
}

// ---------------------------------------------------------------- what anywidget calls

// One line to the kernel, and the views that hang on it. `model` is whichever proxy the caller was given.
function newStrand({ newState, take, view, aside }) {
  const state = { ...newLine(), ...newState() };
  let beats = 0, unseen = 0;
  return {
    state,
    begin(model) {
      state.kernel = () => model.widget_manager?.kernel;
      state.heard = performance.now();
      ask(state, model);
    },
    hear(model, message, buffers) {
      const change = receive(state, model, message, buffers, take, aside);
      if (change) for (const each of state.views) each.update(change);
    },
    beat(model) {
      if (state.seq < 0) ask(state, model); // the first word may wait behind a busy cell, the next ones do not
      const seen = !document.hidden && [...state.views].some((each) => each.visible());
      unseen = seen ? 0 : unseen + 1;
      if (unseen === 4 && state.awake) { state.awake = false; send(state, model, { t: "hidden", looker: state.looker }); }
      if (seen && !state.awake) {
        Object.assign(state, { awake: true, asked: 0, heard: gone(state) ? state.heard : performance.now() });
        ask(state, model);
      }
      for (const each of state.views) { each.tick(); if (++beats % 20 === 0) each.slowTick(); }
    },
    cut() { state.cut = true; }, // also when a line was mended: the next word says so
    view: (model, el) => view(state, model, el),
  };
}

function live(kind) {
  return () => {
    const strand = newStrand(kind);
    return {
      initialize({ model }) {
        const onMessage = (message, buffers) => strand.hear(model, message, buffers);
        model.on("msg:custom", onMessage);
        model.on("comm_live_update", strand.cut);
        strand.begin(model);
        const clock = setInterval(() => strand.beat(model), 500);
        return () => { clearInterval(clock); model.off("msg:custom", onMessage); model.off("comm_live_update", strand.cut); };
      },
      render({ model, el }) {
        const shown = strand.view(model, el);
        return () => shown.dispose();
      },
    };
  };
}
