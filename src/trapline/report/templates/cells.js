// A click on a cell of the confusion matrix, or on a confusion in a table, shows its crops. Names are text, never markup.
if (document.getElementById("cells")) {
  const data = JSON.parse(document.getElementById("cells").textContent);
  const dialog = document.getElementById("cell");
  const part = (name) => document.getElementById("cell-" + name);
  const element = (name, text) => Object.assign(document.createElement(name), { textContent: text ?? "" });
  const percent = (share) => (100 * share).toFixed(share > 0.995 || share < 0.005 ? 1 : 0) + "%";

  const show = (cell) => {
    const crops = data.crops[cell] ?? [];
    const width = data.labels.length;
    const [label, named] = [data.labels[Math.floor(cell / width)], data.labels[cell % width]];
    const all = data.counts[cell] ?? 0;
    part("title").textContent = label === named ? `${label}, named right` : `${label} named ${named}`;
    const listed = crops.length < all ? `; the ${crops.length.toLocaleString("en")} it was surest of are listed` : ", the surest first";
    part("note").textContent = `${all.toLocaleString("en")} ${all === 1 ? "crop" : "crops"}${all > 1 ? listed : ""}.`;
    const figures = [], names = [];
    for (const [name, location, score, picture] of crops) {
      const where = `${percent(score)}, ${data.locations[location]}`;
      if (picture < 0) {
        const item = element("li", name);
        item.append(element("br"), element("span", where));
        names.push(item);
        continue;
      }
      const image = document.createElement("img");
      image.src = "data:image/jpeg;base64," + data.pictures[picture];
      image.alt = `Crop of ${label}, named ${named}`;
      const frame = element("div");
      frame.className = "pic";
      frame.append(image);
      const caption = element("figcaption", where);
      const file = element("span", name);
      file.className = "file";
      caption.append(element("br"), file);
      const figure = element("figure");
      figure.append(frame, caption);
      figures.push(figure);
    }
    part("gallery").replaceChildren(...figures);
    part("names").replaceChildren(...names);
    dialog.showModal();
    dialog.scrollTop = 0;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-cell]");
    if (button) show(Number(button.dataset.cell));
    else if (event.target === dialog) dialog.close();  // beside it
  });
  document.addEventListener("pointerover", (event) => {
    const button = event.target.closest?.(".matrix button");
    if (button) button.title = button.getAttribute("aria-label");
  });
}
