// Charts of a lab (charts.py): bars of its whole life, on which a span is brushed (brush.js), and pictures below.

const REFUSED = "script, style, foreignObject, a, image, use, iframe";

// A picture that the kernel drew, as nodes: only shapes and text of it, and what a mark says as a tooltip.
function pictureOf(svg) {
  const read = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  if (read.nodeName !== "svg") return make("div", "al-hint", "This chart cannot be drawn.");
  for (const node of read.querySelectorAll(REFUSED)) node.remove();
  for (const node of [read, ...read.querySelectorAll("*")]) {
    for (const { name } of [...node.attributes]) if (/^on|href$/i.test(name)) node.removeAttribute(name);
  }
  for (const mark of read.querySelectorAll("[role='graphics-symbol'][aria-label]")) {
    if (!mark.closest(".role-axis, .role-legend, .role-title")) mark.append(draw("title", {}, (mark.getAttribute("aria-label") ?? "")));
  }
  return document.importNode(read, true);
}

function view(state, model, el) {
  const root = make("section", "agentlab agentlab-charts"), top = make("div", "al-top"), body = make("div", "al-body");
  const said = make("span", "al-dim"), whole = make("button", "", "whole time"), beat = make("span", "al-pulse"), places = new Map();
  const bars = brushedBars((span) => send(state, model, { t: "span", from: span?.[0] ?? null, to: span?.[1] ?? null }), false);
  root.setAttribute("aria-label", "charts");
  root.dataset.lmSuppressShortcuts = "true";
  said.setAttribute("aria-live", "polite");
  whole.type = "button";
  whole.addEventListener("click", () => send(state, model, { t: "span", from: null, to: null }));
  top.append(make("b", "", "charts"), said, whole, make("span", "al-fill"), beat);
  body.append(bars.node);
  root.append(top, body);
  el.append(root);
  let told = 0;
  const size = new ResizeObserver(([{ contentRect }]) => {
    const px = Math.floor(contentRect.width);
    if (px && Math.abs(px - told) > 8) { told = px; send(state, model, { t: "wide", px }); }
  });
  size.observe(bars.node);

  function paintBars() {
    const span = state.parts.get("span");
    bars.update(state.parts.get("bars"), span);
    write(said, span ? `${spanWords(span)}${state.parts.get("quiet") ? ": no events" : ""}` : "");
    whole.hidden = !span;
  }
  return framed(state, root, {
    paint(change) {
      const names = change.fresh ? [...state.parts.keys()] : change.touched;
      if (["bars", "span", "quiet"].some((name) => names.includes(name))) paintBars();
      for (const name of names.filter((each) => each.startsWith("chart "))) {
        const part = state.parts.get(name);
        if (!places.has(name)) {
          const place = make("figure", "al-picture"), note = make("figcaption", "al-dim", "of the whole time"), held = make("div");
          place.dataset.chart = part.name;
          place.append(make("b", "", part.name), note, held);
          body.append(place);
          places.set(name, { place, note, held });
        }
        places.get(name).held.replaceChildren(pictureOf(part.svg));
      }
      for (const [name, { note }] of places) note.hidden = !(state.parts.get(name)?.whole && state.parts.get("span"));
    },
    tick() { write(beat, pulse(state)); },
    dispose() { size.disconnect(); },
  });
}

export default live({ newState: newParts, take: takeParts, view });
