// The line above the nodes of a lab: how many there are, and which of them is not well.

import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./load.mjs";

const { nodesTold } = await load(["nodesTold"], "live.js", "nodes.js");

test("nodes are counted, those of one agent each too, and who is not well is named", () => {
  const node = (name, state, nodes = 1) => ({ name, state, nodes });
  assert.equal(nodesTold([node("1", "running")]), "1 node");
  assert.equal(nodesTold([node("1", "running"), node("4", "starting"), node("1,200 of one agent each", "running", 1200)]), "1,202 nodes");
  assert.equal(nodesTold([node("1", "stalled"), node("2", "running"), node("3", "ending")]), "3 nodes: 1 stalled, 3 ending");
});
