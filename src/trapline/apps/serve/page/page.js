"use strict";
// Text from files and from the server is only ever set as textContent.
const at = (id) => document.getElementById(id);
const MOST_BYTES = Number(document.body.dataset.bytes), MOST_BOXES = Number(document.body.dataset.boxes);
const COLOURS = ["#ffd23f", "#4cc9f0", "#ff7b9c", "#9be564", "#ffa552", "#c9a2ff", "#5eead4", "#f5f5f5"];
const LEAST_PX = 5, SHOWN = 5, TRIES = 4;
let photo = null; // {file, width, height}
let boxes = []; // {number, place: [x, y, w, h], state: new | asking | done | failed, found, why, card, mark}
let counter = 0, asking = false;

function say(text, bad = false) {
  at("said").textContent = text;
  at("said").classList.toggle("bad", bad);
}

// A photograph -------------------------------------------------------------------------------------------------------

let opening = 0;
async function open(file) {
  if (!file) return;
  if (file.size > MOST_BYTES) {
    say(`${file.name} is too large: ${Math.ceil(file.size / 1e6)} MB, at most ${Math.floor(MOST_BYTES / 1e6)} MB.`, true);
    return;
  }
  const turn = ++opening, canvas = at("photo");
  let picture = null;
  try {
    picture = await createImageBitmap(file, {imageOrientation: "from-image"});
  } catch { /* said below */ }
  if (turn !== opening) return; // another was chosen meanwhile
  while (boxes.length) remove(boxes[0]);
  counter = 0;
  const [width, height] = picture ? [picture.width, picture.height] : [1600, 900];
  const scale = Math.min(1, 2000 / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  if (picture) canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture?.close();
  photo = {file};
  document.body.classList.remove("empty");
  at("drop").hidden = true;
  at("stage").hidden = at("tools").hidden = false;
  at("name").textContent = file.name;
  if (picture) say("Draw a box around an animal.");
  else say("This browser cannot show that file. The server may still read it: name a box, or take the whole image.", true);
}

at("file").addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
for (const kind of ["dragenter", "dragover"])
  addEventListener(kind, (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) open(file); else say("That was not a file.", true);
});
addEventListener("paste", (event) => { if (event.clipboardData.files.length) open(event.clipboardData.files[0]); });

// Boxes --------------------------------------------------------------------------------------------------------------

function clip([x, y, w, h]) {
  const [x0, y0] = [x, y].map((value) => Math.min(Math.max(value, 0), 1));
  return [x0, y0, Math.min(Math.max(x + w, 0), 1) - x0, Math.min(Math.max(y + h, 0), 1) - y0];
}

function add(place) {
  if (boxes.length >= MOST_BOXES) { say(`At most ${MOST_BOXES} boxes.`, true); return null; }
  const card = at("card").content.cloneNode(true).firstElementChild;
  const mark = document.createElement("div");
  mark.className = "mark";
  mark.append(document.createElement("span"));
  const box = {number: ++counter, place, state: "new", card, mark};
  for (const part of [card, mark]) part.style.setProperty("--own", COLOURS[(box.number - 1) % COLOURS.length]);
  card.querySelector(".number").textContent = box.number;
  card.querySelector(".remove").addEventListener("click", () => { remove(box); at("add").focus(); });
  for (const kind of ["pointerenter", "focusin"]) card.addEventListener(kind, () => mark.classList.add("lit"));
  for (const kind of ["pointerleave", "focusout"]) card.addEventListener(kind, () => mark.classList.remove("lit"));
  for (const field of card.querySelectorAll("input")) field.addEventListener("change", () => edited(box));
  boxes.push(box);
  card.dataset.number = box.number;
  at("boxes").prepend(card); // the newest beside the photograph, where it can be seen
  at("marks").append(mark);
  write(box);
  show(box);
  ask();
  return box;
}

function remove(box) {
  boxes = boxes.filter((other) => other !== box);
  box.state = "gone";
  box.card.remove();
  box.mark.remove();
}

function write(box) {
  for (const field of box.card.querySelectorAll("input"))
    field.value = Number((100 * box.place[Number(field.dataset.side)]).toFixed(2));
}

function edited(box) {
  const place = [...box.card.querySelectorAll("input")].map((field) => field.valueAsNumber / 100);
  box.place = place;
  if (place.some((value) => !Number.isFinite(value)) || !(place[2] > 0 && place[3] > 0)) {
    Object.assign(box, {state: "failed", why: "Width and height must be numbers above 0, left and top numbers."});
  } else box.state = "new";
  show(box);
  ask();
}

let begun = null; // where a box is being drawn
const stage = at("stage"), draft = document.createElement("div");
draft.className = "mark";
draft.style.setProperty("--own", "#fff");

function fraction(event) {
  const area = at("photo").getBoundingClientRect();
  return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height].map(
    (value) => Math.min(Math.max(value, 0), 1));
}
function spanned(event) {
  const [x, y] = fraction(event);
  return [Math.min(x, begun[0]), Math.min(y, begun[1]), Math.abs(x - begun[0]), Math.abs(y - begun[1])];
}
function lay(mark, place) {
  const [x, y, w, h] = place.every(Number.isFinite) ? clip(place) : [0, 0, 0, 0];
  for (const [name, value] of Object.entries({left: x, top: y, width: w, height: h}))
    mark.style[name] = `${100 * value}%`;
  mark.hidden = !(w > 0 && h > 0);
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  begun = fraction(event);
  lay(draft, [...begun, 0, 0]);
  at("marks").append(draft);
});
stage.addEventListener("pointermove", (event) => { if (begun) lay(draft, spanned(event)); });
stage.addEventListener("pointerup", (event) => {
  if (!begun) return;
  const place = spanned(event), area = at("photo").getBoundingClientRect();
  stop();
  if (place[2] * area.width >= LEAST_PX && place[3] * area.height >= LEAST_PX) add(place);
});
function stop() { begun = null; draft.remove(); }
stage.addEventListener("pointercancel", stop);
addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
at("add").addEventListener("click", () => add([0.25, 0.25, 0.5, 0.5])?.card.querySelector("input").select());
at("whole").addEventListener("click", () => add([0, 0, 1, 1]));

// Answers ------------------------------------------------------------------------------------------------------------

function percent(value) {
  return value > 0.9995 && value < 1 ? "> 99.9%" : value < 0.0005 && value > 0 ? "< 0.1%" : `${(100 * value).toFixed(1)}%`;
}

function bar([label, value]) {
  const row = document.createElement("div"), length = document.createElement("i");
  row.className = "bar";
  length.style.width = `${100 * value}%`;
  const name = document.createElement("span"), figure = document.createElement("b");
  name.textContent = name.title = label;
  figure.textContent = percent(value);
  row.append(length, name, figure);
  return row;
}

function show(box) {
  const {card, mark, state, found} = box;
  const part = (name) => card.querySelector(name);
  const done = state === "done" && found;
  const ranked = done ? Object.entries(found.scores).sort((one, other) => other[1] - one[1]) : [];
  const named = done ? [found.answer].flat().filter((label) => label !== null) : [];
  const title = named.join(" + ") || (ranked.length ? `${ranked[0][0]}?` : state === "failed" ? "no answer" : "…");
  card.classList.toggle("asking", state === "new" || state === "asking");
  card.dataset.state = state;
  part(".answer").textContent = title;
  part(".answer").classList.toggle("unsure", !named.length);
  part(".note").textContent = state === "failed" ? box.why : done && !named.length
    ? "The likeliest, but below the threshold from which no person needs to look." : "";
  part(".note").classList.toggle("bad", state === "failed");
  const [first, more] = card.querySelectorAll(".bars");
  first.replaceChildren(...ranked.slice(0, SHOWN).map(bar));
  more.replaceChildren(...ranked.slice(SHOWN).map(bar));
  part("details").hidden = ranked.length <= SHOWN;
  part("summary").textContent = `${ranked.length - SHOWN} more labels`;
  mark.firstChild.textContent = done ? `${box.number} ${title}` : box.number;
  lay(mark, box.place);
}

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function post(file, places) {
  const form = new FormData();
  form.append("image", file, "photograph"); // its name stays here
  for (const place of places) form.append("bbox", JSON.stringify(place));
  const token = at("token").value.trim();
  for (let turn = 1; ; turn++) {
    let answer;
    try {
      answer = await fetch("/predict", {
        method: "POST", body: form, headers: token ? {authorization: `Bearer ${token}`} : {},
      });
    } catch {
      return {why: "The server cannot be reached, or the file cannot be read any more."};
    }
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 503 && turn < TRIES) {
      say("The server is busy; trying again.");
      await wait(Math.min(Number(answer.headers.get("retry-after")) || 1, 5));
      continue;
    }
    if (Array.isArray(told.boxes)) return {boxes: told.boxes};
    if (answer.status === 401) {
      at("secret").hidden = false;
      at("token").focus();
      return {why: "The token is missing or wrong.", locked: true};
    }
    return {why: String(told.error ?? `The server answered with status ${answer.status}.`)};
  }
}

async function ask() {
  if (asking || !photo) return;
  asking = true;
  try {
    for (let asked; (asked = boxes.filter((box) => box.state === "new")).length;) {
      const {file} = photo, places = asked.map((box) => box.place);
      for (const box of asked) box.state = "asking";
      say(asked.length > 1 ? `Asking about ${asked.length} boxes.` : "Asking.");
      const told = await post(file, places);
      asked.forEach((box, number) => {
        if (box.state !== "asking" || box.place !== places[number]) return; // gone, or changed meanwhile
        const one = told.boxes ? told.boxes[number] : undefined;
        const why = one ? one.error : told.why ?? "The server left this box out.";
        Object.assign(box, why ? {state: "failed", why, locked: told.locked} : {state: "done", found: one});
        show(box);
      });
      say(told.why ?? "", Boolean(told.why));
    }
  } finally { asking = false; }
}

at("token").addEventListener("change", () => {
  for (const box of boxes) if (box.locked) Object.assign(box, {state: "new", locked: false});
  ask();
});
at("secret").addEventListener("submit", (event) => event.preventDefault());
at("secret").hidden = document.body.dataset.token !== "yes";
document.body.dataset.ready = "yes";
