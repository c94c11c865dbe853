// Tools that ask a person before they run (asks.py), each with two buttons. They stay as they are while they wait, so
// that nothing slips away below a pointer, and keys stay where they are.

function asksBar(state, model) {
  const node = make("div", "al-waits");
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", "waits for a person");
  let drawn = "";
  function line(ask) {
    const row = make("div", "al-line"), does = (what, word) => {
      const button = make("button", `al-do-${what}`, word);
      button.type = "button";
      button.setAttribute("aria-label", `${word} ${ask.name}`);
      button.addEventListener("click", () => send(state, model, { t: "do", what, n: ask.step, asks: ask }));
      return button;
    };
    row.append(make("b", "", ask.name), make("code", "al-grow", ask.input), does("approve", "allow"), does("refuse", "refuse"));
    return row;
  }
  return { node, update(asks) {
    const now = JSON.stringify(asks ?? []);
    if (now !== drawn) { drawn = now; node.replaceChildren(...(asks ?? []).map(line)); }
    node.hidden = !asks?.length;
    for (const button of node.querySelectorAll("button")) allow(button, mood(state) === "live" && !state.log.busy);
  } };
}
