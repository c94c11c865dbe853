// The slider of the dashboard: any moment of the lab's life, and playing on from there (player.py does both).

const SPEEDS = [1, 2, 5, 10, 25, 50, 100];
const WAIT = 80, PATIENCE = 3000; // ms between two words while somebody drags; ms until what they chose is given up

const clockOf = (ms, span) => {
  const at = new Date(ms), day = span[1] - span[0] > 86400000 ? `${at.toLocaleDateString("en-CA")} ` : "";
  return `${day}${at.toLocaleTimeString("en-GB")}`;
};

// Whether the slider stays where somebody put it: an older moment that comes meanwhile does not take it out of their hand.
const holds = (dragged, when, timer, since) => Boolean(timer) || (dragged !== null && when?.at !== dragged && since < PATIENCE);

// `line()` gives what the tree keeps; `say(message)` tells the kernel.
function player(line, say) {
  const node = make("div", "al-player"), play = make("button", "al-play", "▶"), speed = make("select"), range = make("input"), time = make("span", "al-time"), now = make("button", "al-now", "now");
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", "moment that the tree shows");
  play.type = now.type = "button";
  now.title = "back to the present";
  speed.setAttribute("aria-label", "times as fast as it was");
  for (const n of SPEEDS) speed.append(Object.assign(make("option", "", `${n}×`), { value: n }));
  speed.value = "10";
  range.type = "range";
  range.setAttribute("aria-label", "moment");
  node.append(play, speed, range, time, now);
  node.addEventListener("click", refuse, true);
  let dragged = null, timer = 0, said = 0; // what somebody chose, until the kernel shows it
  const plays = () => (line().when?.speed ?? 0) > 0;
  const flush = () => { timer = 0; said = performance.now(); say({ t: "when", at: dragged, speed: 0 }); };
  range.addEventListener("input", () => { dragged = Math.round(Number(range.value)); if (!timer) timer = setTimeout(flush, WAIT); write(time, clockOf(dragged, line().span)); });
  play.addEventListener("click", () => {
    const { when, span } = line();
    dragged = null;
    say({ t: "when", at: when?.at ?? span[0], speed: plays() ? 0 : Number(speed.value) });
  });
  speed.addEventListener("change", () => { if (plays()) say({ t: "when", at: line().when.at, speed: Number(speed.value) }); });
  now.addEventListener("click", () => { dragged = null; say({ t: "when", at: null }); });
  function update() {
    const { when, span } = line(), state = mood(line());
    node.hidden = !span || span[1] <= span[0];
    if (node.hidden) return;
    const idle = state === "closed" || state === "gone" || state === "silent";
    for (const part of [speed, range]) part.disabled = idle;
    allow(play, !idle);
    allow(now, !idle && Boolean(when));
    write(play, plays() ? "❚❚" : "▶");
    play.title = plays() ? "pause" : when ? "play on from here" : "play from the beginning";
    play.setAttribute("aria-label", play.title);
    node.dataset.when = when ? (plays() ? "plays" : "then") : "now";
    if (holds(dragged, when, timer, performance.now() - said)) return;
    dragged = null;
    Object.assign(range, { min: span[0], max: span[1], step: Math.max(1, Math.round((span[1] - span[0]) / 400)) });
    range.value = when?.at ?? span[1];
    range.setAttribute("aria-valuetext", clockOf(when?.at ?? span[1], span));
    write(time, clockOf(when?.at ?? span[1], span));
  }
  return { node, update };
}
