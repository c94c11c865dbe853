// What a view keeps of the line to its kernel.

import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./load.mjs";

const { newLine, receive, ask, mood, over, pulse, framed } = await load(["newLine", "receive", "ask", "mood", "over", "pulse", "framed"], "live.js");

const model = () => ({ said: [], send(message) { this.said.push(message.t); } });
const take = (state, message) => { state.got = [...(state.got ?? []), message.n]; return { touched: [message.n] }; };
const head = { now: 1, closed: false };

test("differences are applied in order, and a beat changes nothing", () => {
  const state = newLine(), line = model();
  receive(state, line, { t: "snapshot", seq: 7, n: 0, ...head }, [], take);
  assert.deepEqual(receive(state, line, { t: "difference", seq: 8, n: 1, ...head }, [], take), { touched: [1] });
  receive(state, line, { t: "beat", seq: 8, n: 2, ...head }, [], take);
  assert.deepEqual(state.got, [0, 1, 2]);
  assert.equal(state.seq, 8);
  assert.deepEqual(line.said, []);
});

test("where one is missing everything is asked for, once a second at most", () => {
  const state = newLine(), line = model();
  state.asked = -5000;
  receive(state, line, { t: "snapshot", seq: 1, n: 0, ...head }, [], take);
  assert.equal(receive(state, line, { t: "difference", seq: 3, n: 1, ...head }, [], take), null);
  assert.equal(receive(state, line, { t: "beat", seq: 4, n: 1, ...head }, [], take), null);
  assert.deepEqual([line.said, state.got, state.seq], [["hello"], [0], 1]);
});

test("a view that cannot apply what it is told asks for everything, and keeps its number", () => {
  const state = newLine(), line = model();
  state.asked = -5000;
  receive(state, line, { t: "snapshot", seq: 1, n: 0, ...head }, [], take);
  receive(state, line, { t: "difference", seq: 2, ...head }, [], () => null);
  assert.deepEqual([line.said, state.seq], [["hello"], 1]);
});

test("a line that was cut says that its kernel was restarted, until it is heard again", () => {
  const state = newLine();
  state.heard = -5000;
  ask(Object.assign(state, { asked: -5000 }), { send() { throw new Error("cut"); } });
  assert.equal(mood(state), "gone");
  assert.match(over(state)[0], /restarted: run this cell again/);
  receive(state, model(), { t: "snapshot", seq: 0, n: 0, ...head }, [], take);
  assert.equal(mood(state), "live");
  assert.equal(pulse(state), "live");
});

test("silence, a closed lab and a dead kernel look different", () => {
  const state = newLine();
  assert.equal(mood(Object.assign(state, { heard: -5000 })), "silent");
  assert.match(pulse(state), /^no word from the kernel for \d+ s$/);
  assert.equal(mood(Object.assign(state, { kernel: () => ({ status: "dead" }) })), "gone");
  assert.equal(mood(Object.assign(state, { closed: true })), "closed");
});

// A view of two parts on something that hears events as an element does.
function pressable() {
  let watch;
  globalThis.IntersectionObserver = class { constructor(told) { watch = told; } observe() {} disconnect() {} };
  const root = Object.assign(new EventTarget(), { dataset: {}, closest: () => null }), painted = [];
  const view = framed(Object.assign(newLine(), { seq: 0 }), root, { paint: (change) => painted.push(change.n ?? "all"), tick() {} });
  const see = (...moves) => watch(moves.map((isIntersecting) => ({ isIntersecting })));
  return { view, painted, see, on: (name) => root.dispatchEvent(new Event(name)) };
}
const turn = () => new Promise((done) => setTimeout(done, 5));

test("what is pressed is not made anew before the click of it is told", async () => {
  const { view, painted, on } = pressable();
  on("pointerdown");
  view.update({ n: 1 });
  view.update({ n: 2 });
  assert.deepEqual(painted, ["all"]);
  on("click");
  view.update({ n: 3 }); // as who heard the click does
  assert.deepEqual(painted, ["all", 3]);
  await turn();
  assert.deepEqual(painted, ["all", 3, 1, 2]);
  view.dispose();
});

test("a press without a click holds nothing up for long", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { view, painted, on } = pressable();
  on("pointerdown");
  view.update({ n: 1 });
  t.mock.timers.tick(999);
  assert.deepEqual(painted, ["all"]);
  t.mock.timers.tick(1);
  view.update({ n: 2 });
  assert.deepEqual(painted, ["all", 1, 2]);
  view.dispose();
});

test("a view that went out of sight and came back before it was told draws on", () => {
  const { view, painted, see } = pressable();
  see(false, true);
  view.update({ n: 1 });
  assert.deepEqual(painted, ["all", 1]);
  see(true, false);
  view.update({ n: 2 });
  assert.deepEqual(painted, ["all", 1]);
  see(true);
  assert.deepEqual(painted, ["all", 1, "all"]);
  view.dispose();
});
