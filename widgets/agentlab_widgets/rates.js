// How much happens over time (rates.py), in bars (bars.js).

function view(state, model, el) {
  const root = make("section", "agentlab agentlab-rates"), body = make("div", "al-body"), places = new Map();
  root.setAttribute("aria-label", "charts");
  root.append(body);
  el.append(root);
  return framed(state, root, {
    paint(change) {
      for (const name of change.fresh ? state.parts.keys() : change.touched) {
        if (!places.has(name)) { places.set(name, make("div")); body.append(places.get(name)); }
        places.get(name).replaceChildren(chart(state.parts.get(name)));
      }
    },
    tick() {},
  });
}

export default live({ newState: newParts, take: takeParts, view });
