// The threshold explorer: counts at every hundredth, per split and label, are in the page.
if (document.getElementById("curves")) {
  const data = JSON.parse(document.getElementById("curves").textContent);
  const part = (name) => document.getElementById("explorer-" + name);
  const box = part("mark").ownerSVGElement.dataset;
  const [left, right, top, bottom, wide, high] = ["left", "right", "top", "bottom", "wide", "high"].map((name) => Number(box[name]));
  const across = (t) => left + (t / 100) * (wide - left - right);
  const up = (share) => top + (1 - share) * (high - top - bottom);
  const count = (n) => n.toLocaleString("en");
  const percent = (a, b) => (b ? (Math.round((1000 * a) / b) / 10).toFixed(1) + "%" : "–");
  const curve = (split) => {
    const n = Number(part("label").value);
    return { kept: data.kept[split][n], right: data.right[split][n] };
  };

  const draw = () => {
    const t = Number(part("threshold").value);
    const { kept, right: hits } = curve(data.judged);
    const line = (name, share) => {
      const points = kept.map((_, n) => [n, share(n)]).filter(([, value]) => value !== null);
      part(name).setAttribute("points", points.map(([n, value]) => `${across(n).toFixed(1)},${up(value).toFixed(1)}`).join(" "));
    };
    line("precision", (n) => (kept[n] ? hits[n] / kept[n] : null));
    line("coverage", (n) => (kept[0] ? kept[n] / kept[0] : null));
    part("mark").setAttribute("x1", across(t));
    part("mark").setAttribute("x2", across(t));
    part("value").textContent = t + "%";
    part("words").textContent = !kept[0]
      ? "No crop here was named so."
      : `${percent(kept[t], kept[0])} of ${count(kept[0])} crops need no person` +
        (kept[t] ? `; ${percent(hits[t], kept[t])} of those are right, ${count(kept[t] - hits[t])} wrong.` : ".");
  };

  part("label").addEventListener("change", draw);
  part("threshold").addEventListener("input", draw);
  document.querySelectorAll("#explorer button[data-precision]").forEach((button) => {
    button.addEventListener("click", () => {
      const wished = Number(button.dataset.precision) / 100;
      const { kept, right: hits } = curve("val" in data.kept ? "val" : data.judged);
      const t = kept.findIndex((n, at) => n && hits[at] >= wished * n);
      if (t < 0) {
        part("words").textContent = `No threshold gets ${button.dataset.precision}% right.`;
        return;
      }
      part("threshold").value = t;
      draw();
    });
  });
  draw();
}
