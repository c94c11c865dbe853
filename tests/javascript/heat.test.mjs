// A hundred thousand agents as cells of a heat map: what a cell says, where it opens, and where the trouble is.

import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./load.mjs";

const tree = await load(
  ["newState", "newLine", "arrange", "take", "ranksOf", "pageOf", "shadesOf", "worstOf", "countsOf", "counted", "nextTrouble", "stripesOf", "inStripe", "placeOf"],
  "live.js", "sift.js", "rows.js", "heat.js", "cells.js", "map.js", "breakers.js", "nodes.js", "tree.js",
);
const STATUSES = ["running", "busy", "waiting", "starting", "backing_off", "suspended", "parked", "stopped"].map((name) => [name, "#000", "M0,0"]);
const [RUNNING, BUSY, SUSPENDED, PARKED, GONE] = [0, 1, 5, 6, 15];

// The root, and below it so many agents, all running but some.
function crowd(n, others = {}) {
  const state = { ...tree.newLine(), ...tree.newState(), mode: "cells", statuses: STATUSES, looks: [0x80, ...new Array(n).fill(RUNNING)], parents: [-1, ...new Array(n).fill(0)] };
  for (const [place, byte] of Object.entries(others)) state.looks[1 + Number(place)] = byte;
  tree.arrange(state);
  return { state, agents: state.children.get(0), ranks: tree.ranksOf(state) };
}

test("all of a large block fits its room, and zooms into pages that stay where they are", () => {
  const all = tree.pageOf(100_000, 3000);
  assert.deepEqual([all.per, all.from, all.to, all.cells], [50, 0, 100_000, 2000]);
  const near = tree.pageOf(100_000, 3000, { zoom: 0, at: 70_001 });
  assert.deepEqual([near.per, near.from, near.to], [1, 69_000, 72_000]);
  for (let at = near.from; at < near.to; at += 499) assert.deepEqual(tree.pageOf(100_000, 3000, { zoom: 0, at }), near);
  for (let zoom = all.top, at = 99_999; zoom >= 0; zoom--) {
    const page = tree.pageOf(100_000, 3000, { zoom, at });
    assert.ok(page.from <= at && at < page.to && page.cells <= 3000, `zoom ${zoom}`);
  }
  assert.deepEqual(tree.pageOf(40, 3000, { zoom: 7, at: 900 }), { zoom: 0, top: 0, per: 1, from: 0, to: 40, cells: 40 });
  assert.equal(tree.pageOf(0, 3000).cells, 0);
});

test("a cell has the look of its worst agent, the fuller the more of them are as bad", () => {
  const { state, agents, ranks } = crowd(300, { 0: PARKED, 1: SUSPENDED, 120: BUSY, ...Object.fromEntries([...Array(100).keys()].map((i) => [200 + i, PARKED])) });
  const shades = tree.shadesOf(state, ranks, agents, { per: 100, from: 0, to: 300, cells: 3 });
  assert.deepEqual([...shades].map((shade) => shade & 0xff), [PARKED, BUSY, PARKED]);
  assert.deepEqual([...shades].map((shade) => shade >> 8), [1, 1, 4]);
  assert.equal(tree.worstOf(state, ranks, agents, 1, 100), 1);
  assert.equal(tree.counted(state, tree.countsOf(state, agents, 0, 200)), "197 running, 1 busy, 1 suspended, 1 parked");
});

test("one that is gone counts for nothing", () => {
  const { state, agents, ranks } = crowd(4);
  state.looks[1] = state.looks[2] = GONE;
  const page = { per: 2, from: 0, to: 4, cells: 2 };
  assert.deepEqual([...tree.shadesOf(state, ranks, agents, page)], [GONE, RUNNING | (4 << 8)]);
  assert.equal(tree.counted(state, tree.countsOf(state, agents)), "2 running");
  tree.arrange(state);
  assert.deepEqual([...state.children.get(0)], [3, 4]);
});

test("the next in trouble is found from where one is, both ways and round the end", () => {
  const { state } = crowd(1000, { 10: PARKED, 500: PARKED, 600: SUSPENDED });
  const seen = [1, 1, 1, -1].map((way) => (state.selected = tree.nextTrouble(state, way)) - 1);
  assert.deepEqual(seen, [10, 500, 10, 500]);
  assert.equal(tree.nextTrouble(crowd(1000, { 3: SUSPENDED }).state, 1), -1);
});

test("who was selected a moment ago is so when everything is told once more, before the kernel has said who that is", () => {
  const { state } = crowd(5), view = (Kind, of) => new DataView(Kind.from(of).buffer);
  const told = (epoch, looks = state.looks) => ({
    message: { t: "snapshot", mode: "cells", epoch, statuses: STATUSES, actions: [], crash: "red", rows: [{ slot: 0, path: "/", kind: "supervisor" }], restarts: [] },
    buffers: [view(Int32Array, state.parents), view(Uint8Array, looks)],
  });
  const after = (selected, { message, buffers }) => {
    Object.assign(state, { selected, wanted: state.facts.get(selected)?.path ?? null }); // as a click does
    tree.take(state, message, buffers);
    return state.selected;
  };
  state.epoch = 3;
  assert.equal(after(4, told(3)), 4);
  assert.equal(after(4, told(3, state.looks.with(4, GONE))), -1);
  assert.equal(after(-1, told(3)), -1);
  assert.equal(after(0, told(3)), 0);
  assert.equal(after(4, told(4)), -1); // slots mean others now
  assert.equal(after(0, told(5)), 0);
});

test("a stripe of the map is as bad as the worst in it, and leads there", () => {
  const { state } = crowd(99_999, { 77_777: PARKED });
  const { bytes } = tree.stripesOf(state, 200), bad = [...bytes].flatMap((byte, i) => (byte === PARKED ? [i] : []));
  assert.equal(bad.length, 1);
  assert.equal(tree.inStripe(state, bad[0], 200), 77_778);
  for (const stripe of [0, 100, 199]) assert.equal(Math.floor((state.order.indexOf(tree.inStripe(state, stripe, 200)) * 200) / 100_000), stripe);
});

test("every agent is found in its block", () => {
  const { agents } = crowd(1000);
  for (const slot of [1, 2, 500, 1000]) assert.equal(agents[tree.placeOf(agents, slot)], slot);
  assert.deepEqual([tree.placeOf(agents, 0), tree.placeOf(agents, 1001)], [-1, -1]);
});

test("of many agents places are set when they are drawn, not with each message", () => {
  const view = (numbers) => new DataView(numbers.buffer), { state } = crowd(5);
  Object.assign(state, { epoch: 1, seq: 1 });
  const change = tree.take(state, { t: "difference", epoch: 1, rows: [], restarts: [], counts: {} },
    [view(new Uint32Array([6])), view(new Uint8Array([BUSY])), view(new Int32Array([6, 0])), view(new Uint32Array(0))]);
  assert.ok(change.moved && state.loose);
  assert.equal(state.order.length, 6);
  tree.arrange(state);
  assert.deepEqual([state.order.length, state.loose, state.depth[6]], [7, false, 1]);
});
