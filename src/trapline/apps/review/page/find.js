"use strict";
// A label found by typing: those that begin with the words first, then those that hold them; Enter takes the marked one.
const MOST_FOUND = 9;
function findLabels(labels, typed) {
  const words = typed.trim().toLowerCase();
  const rank = (label) => { const at = label.toLowerCase().indexOf(words); return at < 0 ? 3 : at === 0 ? 0 : /[\s_-]/.test(label[at - 1]) ? 1 : 2; };
  const found = labels.map((label) => [rank(label), label]).filter(([place]) => place < 3).sort((a, b) => a[0] - b[0]).map(([, label]) => label);
  const exact = found.findIndex((label) => label.toLowerCase() === words);
  if (exact > 0) found.unshift(...found.splice(exact, 1));
  return found.slice(0, MOST_FOUND).map((label) => ({ label, fresh: false }))
    .concat(words && exact < 0 ? [{ label: typed.trim(), fresh: true }] : []);
}
class LabelFinder {
  constructor(input, list, labels, chosen) {
    this.input = input; this.list = list; this.labels = labels; this.found = []; this.at = 0;
    input.addEventListener("input", () => this.show());
    input.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || !this.found.length) return;
      const from = this.at < 0 && step < 0 ? 0 : this.at;
      this.mark((from + step + this.found.length) % this.found.length); event.preventDefault();
    });
    list.addEventListener("click", (event) => {
      const place = [...list.children].indexOf(event.target.closest("li"));
      if (place >= 0) { this.mark(place); chosen(); }
    });
  }
  show() {
    this.found = findLabels(this.labels(), this.input.value);
    this.list.replaceChildren(...this.found.map(({ label, fresh }, place) => {
      const item = document.createElement("li");
      item.id = "found-" + place; item.setAttribute("role", "option"); item.textContent = fresh ? `new label: ${label}` : label;
      return item;
    }));
    this.mark(this.input.value.trim() ? 0 : -1);  // Enter alone names no label
  }
  mark(place) {
    this.at = place;
    [...this.list.children].forEach((item, other) => item.setAttribute("aria-selected", other === place));
    if (this.found[place]) { this.input.setAttribute("aria-activedescendant", "found-" + place); this.list.children[place].scrollIntoView({ block: "nearest" }); }
    else this.input.removeAttribute("aria-activedescendant");
  }
  get label() { return this.found[this.at] ? this.found[this.at].label : ""; }
}
