// The span that is brushed on bars: which bars it covers, and where keys move its edges to.

import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./load.mjs";

const { edgesOf, spanOf, edgeMoved, sumsIn } = await load(["edgesOf", "spanOf", "edgeMoved", "sumsIn"], "live.js", "parts.js", "bars.js", "brush.js");
const part = { from: 1000, width: 10, heights: [Array(12).fill(0), Array(12).fill(0)] };

test("no span is all bars, and all bars are no span", () => {
  assert.deepEqual(edgesOf(null, part), [0, 12]);
  assert.equal(spanOf(0, 12, part), null);
  assert.equal(spanOf(-3, 40, part), null);
});

test("a span covers the bars that it touches, as far as there are any", () => {
  assert.deepEqual(edgesOf([1020, 1050], part), [2, 5]);
  assert.deepEqual(edgesOf([1025, 1051], part), [2, 6]);
  assert.deepEqual(edgesOf([0, 9000], part), [0, 12]);
  assert.deepEqual(spanOf(2, 5, part), [1020, 1050]);
});

test("keys move one edge, and a span keeps one bar", () => {
  assert.deepEqual(edgeMoved([2, 5], 0, "ArrowRight", 12), [3, 5]);
  assert.deepEqual(edgeMoved([2, 3], 0, "ArrowRight", 12), [2, 3]);
  assert.deepEqual(edgeMoved([2, 3], 1, "ArrowLeft", 12), [2, 3]);
  assert.deepEqual(edgeMoved([2, 5], 1, "End", 12), [2, 12]);
  assert.deepEqual(edgeMoved([2, 5], 1, "PageDown", 12), [2, 3]);
  assert.equal(edgeMoved([2, 5], 0, "a", 12), undefined);
});

test("what is in a span is counted by series, and nothing is in one that the bars have left behind", () => {
  assert.deepEqual(sumsIn([[1, 2, 3, 4], [0, 0, 5, 0]], [1, 3]), [5, 5]);
  assert.deepEqual(sumsIn([[1, 2, 3, 4], [0, 0, 5, 0]], edgesOf([100, 200], part)), [0, 0]);
});
