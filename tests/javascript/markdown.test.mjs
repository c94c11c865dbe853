// Markdown becomes plain objects: what nobody knows stays text, and no link leads where it must not.

import assert from "node:assert/strict";
import test from "node:test";

import { load } from "./load.mjs";

const { markdown } = await load(["markdown"], "markdown.js");

const TAGS = new Set(["p", "h3", "h4", "h5", "h6", "strong", "em", "code", "pre", "a", "ul", "ol", "li", "blockquote", "hr", "table", "tr", "th", "td"]);
const all = (nodes) => nodes.flatMap((node) => (typeof node === "string" ? [] : [node, ...all(node.children)]));
const said = (nodes) => nodes.map((node) => (typeof node === "string" ? node : said(node.children))).join("");

test("the forms that models use are read", () => {
  const found = markdown("# Title\n\nSome **bold**, *soft* and `code`.\n\n- one\n- two\n  - inner\n\n1. first\n2. second\n\n> quoted\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n```\n---");
  assert.deepEqual(found.map((node) => node.tag), ["h3", "p", "ul", "ol", "blockquote", "table", "pre", "hr"]);
  assert.deepEqual(all(found[1].children).map((node) => node.tag), ["strong", "em", "code"]);
  assert.deepEqual(all(found[2].children).map((node) => node.tag), ["li", "li", "ul", "li"]);
  assert.equal(said([found[6]]), "x = 1");
});

test("code that is still being written is code", () => {
  assert.deepEqual(markdown("```py\nx = 1").map((node) => node.tag), ["pre"]);
});

test("markup is text, and links lead to addresses alone", () => {
  const hostile = [
    "<script>alert(1)</script>", "<iframe src='javascript:alert(1)'></iframe>", "[x](javascript:alert(1))", "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>1</script>)", "![x](data:image/svg+xml,<svg/onload=1>)", "[x](vbscript:1)", "[x](\tjavascript:1)",
    "[x](file:///etc/passwd)", "[a](//evil)", "<img src=x onerror=alert(1)>", "[x](java\u0000script:1)",
  ];
  for (const text of hostile) {
    const nodes = all(markdown(text));
    assert.ok(nodes.every((node) => TAGS.has(node.tag)), text);
    assert.ok(nodes.every((node) => !node.href || /^(https?|mailto):/.test(node.href)), text);
    assert.equal(nodes.filter((node) => node.href).length, 0, text);
  }
  assert.equal(all(markdown("[ok](https://example.org/a_(b)) and http://example.org/x.")).filter((node) => node.href).length, 2);
});

test("an image of elsewhere is a link: nothing is loaded", () => {
  const [{ children: [link] }] = markdown("![cat](https://example.org/cat.png)");
  assert.deepEqual([link.tag, said(link.children)], ["a", "[image: cat]"]);
});

test("nothing of a text is lost, and none takes for ever", () => {
  for (const text of ["**a", "a ** b", "`", "[a](b", "_ _ _", ">".repeat(200), "- ".repeat(200), "*".repeat(3000), "[".repeat(3000), "_a".repeat(3000), "`".repeat(3001)]) {
    const began = performance.now();
    said(markdown(text));
    assert.ok(performance.now() - began < 2000, text.slice(0, 9));
  }
  assert.equal(said(markdown("a **b c")), "a **b c");
});
