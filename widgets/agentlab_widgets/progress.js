// The bar of one run: it draws what it is told; the kernel looks.
export default {
  render({ model, el }) {
    const make = (tag, name) => Object.assign(document.createElement(tag), { className: name });
    const root = make("div", "agentlab-progress"), bar = make("div", "al-bar"), full = make("div", "al-full"), text = make("span", "al-text");
    root.setAttribute("role", "progressbar");
    bar.append(full);
    root.append(bar, text);
    el.append(root);
    const draw = () => {
      const share = Math.round(100 * model.get("share"));
      full.style.width = share + "%";
      root.setAttribute("aria-valuenow", String(share));
      root.dataset.over = String(model.get("over"));
      text.textContent = model.get("text");
    };
    model.on("change", draw);
    draw();
  },
};
