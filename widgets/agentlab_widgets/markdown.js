// Markdown as a model writes it, read into plain objects and drawn as elements: never as markup. What is not known here
// stays text, so a script, an iframe or an image of somewhere else is only what was written. Links lead to http, https
// and mailto alone.

const LINKS = ["http:", "https:", "mailto:"];
const INLINE = /(`+)([\s\S]+?)\1(?!`)|\*\*([^\s*][\s\S]*?)\*\*|__([^\s_][\s\S]*?)__|\*([^\s*][^*\n]*?)\*|\b_([^\s_][^_\n]*?)_\b|!?\[([^\]\n]*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+"[^"\n]*")?\)|\bhttps?:\/\/[^\s<>"'`)\]]+/;
const DEEPEST = 8; // blocks in blocks

function address(text) {
  try {
    const url = new URL(text);
    return LINKS.includes(url.protocol) ? url.href : null;
  } catch { return null; }
}

function inline(text, depth = 0) {
  const found = [];
  for (let rest = text; rest;) {
    const match = depth < DEEPEST ? INLINE.exec(rest) : null;
    if (!match) { found.push(rest); break; }
    if (match.index) found.push(rest.slice(0, match.index));
    const [whole, , code, strong, strong2, soft, soft2, label, target] = match;
    if (code !== undefined) found.push({ tag: "code", children: [code.trim() || code] });
    else if (strong ?? strong2) found.push({ tag: "strong", children: inline(strong ?? strong2, depth + 1) });
    else if (soft ?? soft2) found.push({ tag: "em", children: inline(soft ?? soft2, depth + 1) });
    else {
      const href = address(target ?? whole);
      const children = target === undefined || !label ? [target || whole] : whole[0] === "!" ? [`[image: ${label}]`] : inline(label, depth + 1);
      found.push(href ? { tag: "a", href, children } : whole);
    }
    rest = rest.slice(match.index + whole.length);
  }
  return found;
}

const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const cellsOf = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(lines) {
  const row = (line, tag) => ({ tag: "tr", children: cellsOf(line).map((cell) => ({ tag, children: inline(cell) })) });
  return { tag: "table", children: [row(lines[0], "th"), ...lines.slice(2).map((line) => row(line, "td"))] };
}

function list(lines, depth) {
  const [, indent, mark] = ITEM.exec(lines[0]) ?? ["", "", "-"], ordered = /\d/.test(mark), items = [];
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (match && match[1].length <= indent.length) items.push([match[3]]);
    else items.at(-1)?.push(line.replace(/^\s{1,4}/, ""));
  }
  const children = items.map(([head, ...rest]) => ({ tag: "li", children: [...inline(head), ...(rest.length ? blocks(rest, depth + 1) : [])] }));
  return { tag: ordered ? "ol" : "ul", start: ordered ? parseInt(mark, 10) : undefined, children };
}

function blocks(lines, depth = 0) {
  const found = [];
  const while_ = (from, test) => { let to = from; while (to < lines.length && test(lines[to], to)) to++; return to; };
  for (let i = 0; i < lines.length;) {
    const line = lines[i], fence = /^\s*(`{3,}|~{3,})(.*)$/.exec(line), heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (!line.trim()) i++;
    else if (fence) { // one that is not closed yet is code to the end: it is being written
      const to = while_(i + 1, (each) => !each.trim().startsWith(fence[1]));
      found.push({ tag: "pre", children: [{ tag: "code", children: [lines.slice(i + 1, to).join("\n")] }] });
      i = to + 1;
    } else if (heading) { found.push({ tag: "h" + Math.min(6, heading[1].length + 2), children: inline(heading[2]) }); i++; }
    else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) { found.push({ tag: "hr", children: [] }); i++; }
    else if (/^\s*>/.test(line) && depth < DEEPEST) {
      const to = while_(i, (each) => /^\s*>/.test(each));
      found.push({ tag: "blockquote", children: blocks(lines.slice(i, to).map((each) => each.replace(/^\s*>\s?/, "")), depth + 1) });
      i = to;
    } else if (ITEM.test(line) && depth < DEEPEST) {
      const to = while_(i, (each, at) => at === i || ITEM.test(each) || /^\s{2,}\S/.test(each));
      found.push(list(lines.slice(i, to), depth));
      i = to;
    } else if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[i + 1] ?? "") && lines[i + 1].includes("|")) {
      const to = while_(i, (each) => each.includes("|"));
      found.push(table(lines.slice(i, to)));
      i = to;
    } else {
      const to = while_(i, (each, at) => each.trim() && (at === i || !/^\s*(`{3,}|~{3,}|#{1,6}\s|>)/.test(each) && !ITEM.test(each)));
      found.push({ tag: "p", children: inline(lines.slice(i, to).join("\n")) });
      i = to;
    }
  }
  return found;
}

const markdown = (text) => blocks(text.split("\n"));

function drawn(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const element = document.createElement(node.tag);
  if (node.href) Object.assign(element, { href: node.href, target: "_blank", rel: "noopener noreferrer", title: node.href });
  if (node.start > 1) element.start = node.start;
  element.append(...node.children.map(drawn));
  return element;
}
