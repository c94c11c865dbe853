// What the dashboard keeps: its splits, its filter of events, whose word is whose.

import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./load.mjs";

const { newestOf, shownEvents, newStream } = await load(["newestOf", "shownEvents", "newStream"], "live.js", "stream.js");
const { stacked } = await load(["stacked"], "live.js", "parts.js", "bars.js");
const { storedSplits, moved, bounded, hear } = await load(["storedSplits", "moved", "bounded", "hear"], "live.js", "dashboard.js");
const { clockOf, holds } = await load(["clockOf", "holds"], "live.js", "player.js");

const event = (seq, kind, path, reason = "") => ({ seq, at: seq * 10, kind, path, reason });

test("splits are what was kept, as far as they make sense", () => {
  assert.deepEqual(storedSplits(null), { rows: 58, top: 54, bottom: 58 });
  assert.deepEqual(storedSplits('{"rows": 30, "top": "wide", "bottom": 9000}'), { rows: 30, top: 54, bottom: 88 });
  assert.deepEqual(storedSplits("somebody else's"), storedSplits("null"));
});

test("arrow keys move a splitter along its way, and no further than to its end", () => {
  assert.equal(moved(50, "ArrowLeft", true), 48);
  assert.equal(moved(50, "ArrowDown", false), 52);
  assert.equal(moved(50, "ArrowDown", true), undefined);
  assert.equal(moved(12, "ArrowUp", false), bounded(0));
  assert.equal(moved(50, "End", true), 88);
});

test("of each kind the newest stay, in order", () => {
  const many = [event(1, "crashed", "/a"), ...Array.from({ length: 10 }, (_, i) => event(i + 2, "started", "/a"))];
  assert.deepEqual(newestOf(many, 2).map((each) => each.seq), [1, 10, 11]);
});

test("events are shown newest first, by kind, by words and below who is selected", () => {
  const state = { ...newStream(), events: [event(1, "started", "/team/a"), event(2, "backing_off", "/teamwork"), event(3, "crashed", "/team/b", "no tea")] };
  const seqs = (change) => shownEvents({ ...state, ...change }).map((each) => each.seq);
  assert.deepEqual(seqs({}), [3, 2, 1]);
  assert.deepEqual(seqs({ chosen: new Set(["started", "crashed"]) }), [3, 1]);
  assert.deepEqual(seqs({ text: "backing off" }), [2]);
  assert.deepEqual(seqs({ text: "TEA crashed" }), [3]);
  assert.deepEqual(seqs({ only: true, selected: "/team" }), [3, 1]);
  assert.deepEqual(seqs({ only: true, selected: "/" }), [3, 2, 1]);
  assert.deepEqual(seqs({ until: 15 }), [1]);
});

test("bars are shares of the tallest stack", () => {
  assert.deepEqual(stacked([[1, 0, 2], [1, 0, 2]]), { most: 4, sums: [2, 0, 4], stacks: [[0.25, 0.25], [0, 0], [0.5, 0.5]] });
  assert.equal(stacked([[0], [0]]).most, 1);
});

test("a word is for the part that it names, and for nobody else", () => {
  const heard = [], said = [];
  const board = { absent: new Map(), views: new Set([{ choose: () => said.push("chosen") }]), strands: new Map([["tree", { strand: { hear: (model, message) => heard.push(message.n) } }]]) };
  hear(board, { pane: "tree", t: "beat", n: 1 });
  hear(board, { pane: "inspector:1:2", t: "absent", why: "it left before" });
  board.strands.set("inspector:1:3", {});
  hear(board, { pane: "inspector:1:3", t: "absent", why: "gone" });
  assert.deepEqual([heard, [...board.absent], said], [[1], [["inspector:1:3", "gone"]], ["chosen"]]);
});

test("a moment is told by its clock, and by its day where the lab has seen several", () => {
  const at = new Date(2026, 10, 27, 3, 4, 5).getTime();
  assert.equal(clockOf(at, [at, at + 1000]), "03:04:05");
  assert.equal(clockOf(at, [at, at + 90000000]), "2026-11-27 03:04:05");
});

test("a slider stays where somebody put it until the kernel shows that moment, or says nothing for long", () => {
  assert.equal(holds(null, { at: 5 }, 0, 0), false);
  assert.equal(holds(7, { at: 5 }, 0, 100), true);
  assert.equal(holds(7, null, 0, 100), true);
  assert.equal(holds(7, { at: 7 }, 0, 100), false);
  assert.equal(holds(7, { at: 5 }, 0, 5000), false);
  assert.equal(holds(7, { at: 7 }, 42, 100), true);
});
