// Bars over time: how many of what, in each span of so many seconds (bars_of in rates.py).

const TALL = 74, BAR_GAP = 0.18; // px of the tallest bar; share of a bar's width that stays empty

// Heights of the stacked bars as shares of the tallest stack, and how many that is.
function stacked(heights) {
  const sums = heights[0].map((_, i) => heights.reduce((sum, series) => sum + series[i], 0)), most = Math.max(1, ...sums);
  return { most, sums, stacks: heights[0].map((_, i) => heights.map((series) => series[i] / most)) };
}

// What one bar stands for, in words.
function barsWords(part, i) {
  const counted = part.series.map(([name], k) => `${count(part.heights[k][i])} ${name}`);
  return `${clockTime((part.from + i * part.width) * 1000)}, ${lasting(part.width)}: ${counted.join(", ")}`;
}

/**
 * How much of each series is in the bars from the first to before the last.
 * @param {number[][]} heights @param {number[]} edges
 */
const sumsIn = (heights, [first, last]) => heights.map((series) => series.slice(first, last).reduce((a, b) => a + b, 0));

// `edges`: the first bar and the one after the last of a span; the others are faint, and names say what is in it.
function chart(part, edges) {
  const { most, sums, stacks } = stacked(part.heights), n = stacks.length;
  const node = make("figure", "al-chart"), head = make("figcaption"), names = make("span", "al-names");
  const within = edges && sumsIn(part.heights, edges);
  part.series.forEach(([name, colour], k) => {
    const key = make("span", "al-key"), dot = make("span", "al-dot");
    dot.style.background = colour;
    key.append(dot, make("span", "", within ? `${count(within[k])} ${name}` : name));
    names.append(key);
  });
  head.append(make("b", "", part.title), names, make("span", "al-most", `at most ${count(most)} in ${lasting(part.width)}`));
  const svg = draw("svg", { viewBox: `0 0 ${n} ${TALL}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${part.title}: ${count(sums.reduce((a, b) => a + b, 0))} since ${clockTime(part.from * 1000)}` });
  stacks.forEach((stack, i) => {
    let y = TALL;
    const bar = draw("g", {}, draw("title", {}, barsWords(part, i)));
    if (edges && (i < edges[0] || i >= edges[1])) bar.setAttribute("opacity", "0.3");
    bar.append(draw("rect", { x: i, y: 0, width: 1, height: TALL, fill: "transparent" }));
    stack.forEach((share, k) => {
      const height = share ? Math.max(1.5, share * (TALL - 4)) : 0;
      y -= height;
      if (height) bar.append(draw("rect", { x: i + BAR_GAP / 2, y, width: 1 - BAR_GAP, height, fill: part.series[k][1] }));
    });
    svg.append(bar);
  });
  const plot = make("div", "al-plot"), below = make("div", "al-axis");
  plot.append(svg);
  below.append(make("span", "", clockTime(part.from * 1000)), make("span", "", clockTime((part.from + n * part.width) * 1000)));
  node.append(head, plot, below);
  return node;
}
