// What is shown of a tree that somebody searches, folds and sorts.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { load } from "./load.mjs";

const tree = await load(
  ["newState", "arrange", "arrangeRows", "wordsOf", "matches", "below", "step", "folds", "aside", "find", "take", "listed"],
  "live.js", "sift.js", "rows.js", "heat.js", "cells.js", "map.js", "breakers.js", "nodes.js", "tree.js",
);
const { rows, cases } = JSON.parse(readFileSync(new URL("sift.json", import.meta.url), "utf8"));

test("words find what the kernel finds by them", () => {
  for (const [text, found] of cases) {
    const terms = tree.wordsOf(text);
    assert.deepEqual(rows.flatMap((row, i) => (tree.matches(row, terms) ? [i] : [])), found, text);
  }
});

// The root, /a, /team with /team/b and /team/c, of which c is parked.
function five() {
  const state = { ...tree.newState(), statuses: [["running"], ["parked"]], looks: [0x80, 0, 0x80, 0, 1], parents: [-1, 0, 0, 2, 2], seq: 1, epoch: 1 };
  ["/", "/a", "/team", "/team/b", "/team/c"].forEach((path, slot) => {
    const kind = slot % 2 ? "agent" : slot === 4 ? "agent" : "supervisor", id = path.split("/").pop();
    state.facts.set(slot, { slot, path, id, kind, cls: "Counter", status: slot === 4 ? "parked" : "running", restarts: slot, mailbox: 0, incarnation: 1, node: 0, reason: "", strategy: null });
  });
  tree.arrange(state);
  tree.arrangeRows(state);
  return state;
}

test("all is shown until somebody searches, and what is found stands under its supervisors", () => {
  const state = five();
  assert.deepEqual(state.shown, [0, 1, 2, 3, 4]);
  state.sift.text = "c kind:counter path:/team/c";
  tree.arrangeRows(state);
  assert.deepEqual([state.shown, [...state.hit]], [[0, 2, 4], [4]]);
  state.sift.text = "";
  state.sift.statuses.add("parked");
  tree.arrangeRows(state);
  assert.deepEqual([state.shown, [...state.hit]], [[0, 2, 4], [4]]);
  assert.ok(state.last.has(2) && state.last.has(4));
});

test("a folded supervisor hides what is below it, and says what that is", () => {
  const state = five();
  state.selected = 2;
  assert.ok(tree.folds(state, "ArrowLeft"));
  state.sift.folded.add("/team");
  tree.arrangeRows(state);
  assert.deepEqual(state.shown, [0, 1, 2]);
  assert.equal(tree.below(state, 2), "1 running, 1 parked");
  assert.ok(tree.folds(state, "ArrowRight") && tree.folds(state, "Enter") && !tree.folds(state, "ArrowLeft"));
  assert.equal(tree.step(state, "End"), 2);
});

test("siblings are sorted, up and down, and families stay together", () => {
  const state = five();
  Object.assign(state.sift, { sort: "restarts", up: false });
  tree.arrangeRows(state);
  assert.deepEqual(state.shown, [0, 2, 4, 3, 1]);
  state.sift.up = true;
  tree.arrangeRows(state);
  assert.deepEqual(state.shown, [0, 1, 2, 3, 4]);
});

test("of many the kernel is asked, and only its latest answer counts", () => {
  const state = { ...five(), mode: "cells" }, said = [], model = { send: (message) => said.push(message) };
  state.sift.text = "b";
  tree.find(state, model);
  assert.ok(!tree.listed(state));
  const answer = { t: "found", epoch: 1, word: said[0].word, total: 1, from: 0, rows: [state.facts.get(3)] };
  tree.aside(state, { ...answer, word: "an older one" });
  assert.ok(!tree.listed(state));
  assert.deepEqual(tree.aside(state, answer).touched, [3]);
  assert.ok(tree.listed(state));
  assert.deepEqual([state.shown, state.sift.found.total, said.length], [[3], 1, 1]);
});
