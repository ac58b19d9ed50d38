"use strict";
// Which key does what. Labels take the digits, then the letters that nothing else uses.
const FIXED = {
  a: ["accept", "the label is right"], x: ["exclude", "leave this box out"], s: ["unsure", "a person cannot tell"],
  u: ["undo", "take back this tab's last decision"], U: ["undo-here", "take back the last decision about this crop"],
  r: ["ask", "relabel: type or choose a label"], b: ["burst", "decisions are for the whole burst, on and off"],
  g: ["filter", "go to the filters"], "?": ["help", "this list"],
};
const LABEL_KEYS = [..."1234567890cdefhijklmnopqtvwyz"];
const MOVES = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: "up", ArrowDown: "down", PageUp: "pageup", PageDown: "pagedown", Home: "home", End: "end" };
function labelKeys(labels) {
  return new Map(LABEL_KEYS.slice(0, labels.length).map((key, k) => [key, labels[k]]));
}
