// How much happens over time (rates.py), in bars (bars.js); a span that is brushed on one chart (brush.js) is marked on
// all of them, and the events beside them are of that span only.

function view(state, model, el) {
  const root = make("section", "agentlab agentlab-rates"), body = make("div", "al-body"), places = new Map();
  const top = make("div", "al-span"), said = make("span", "al-dim"), whole = make("button", "", "whole time");
  const choose = (span) => send(state, model, { t: "span", from: span?.[0] ?? null, to: span?.[1] ?? null });
  root.setAttribute("aria-label", "charts");
  root.dataset.lmSuppressShortcuts = "true";
  said.setAttribute("aria-live", "polite");
  whole.type = "button";
  whole.addEventListener("click", () => choose(null));
  top.append(said, whole);
  body.append(top);
  root.append(body);
  el.append(root);
  return framed(state, root, {
    paint() {
      const span = state.parts.get("span");
      for (const [name, part] of state.parts) {
        if (name === "span") continue;
        if (!places.has(name)) {
          const bars = brushedBars(choose, true);
          bars.node.dataset.chart = name;
          places.set(name, bars);
          body.append(bars.node);
        }
        places.get(name).update(part, span);
      }
      write(said, span ? `only ${spanWords(span)}` : "");
      top.hidden = !span;
    },
    tick() {},
  });
}

export default live({ newState: newParts, take: takeParts, view });
