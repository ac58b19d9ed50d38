"use strict";
// Names of labels and files are data: they become text nodes, never markup.
history.replaceState(null, "", "/");
const KEY = document.querySelector("meta[name=trapline-key]").content;
const TAB = sessionStorage.tab || (sessionStorage.tab = crypto.getRandomValues(new Uint32Array(4)).join("-"));
const CHUNK = 100, POLL_MS = 1500, WIDEST = 190, TEXT_PX = 62;
const FILTER_NAMES = ["now", "split", "location", "issue", "predicted", "decision"];
const $ = (id) => document.getElementById(id);
let meta = null, total = 0, version = 0, at = 0, columns = 1, cellW = WIDEST, cellH = WIDEST;
let chunks = new Map(), pending = new Map(), generation = Date.now(), shownRow = null, keys = new Map(), cells = new Map();

function make(tag, text, attributes) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  return element;
}
function say(text, bad) { $("said").textContent = text; $("said").className = bad ? "bad" : ""; }

async function ask(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : {
      method: "POST", body: JSON.stringify(body),
      headers: { "content-type": "application/json", "x-trapline-token": KEY },
    });
  } catch (error) {
    throw new Error("the server does not answer. What was confirmed is kept. Start `trapline review` again.");
  }
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// -- rows ------------------------------------------------------------------------------------------------------
function query() {
  const asked = new URLSearchParams();
  for (const name of FILTER_NAMES) if ($("f-" + name).value) asked.set(name, $("f-" + name).value);
  asked.set("sort", $("f-sort").value || "order");
  asked.set("view", TAB + ":" + generation);
  return asked;
}
function load(number) {
  if (chunks.has(number)) return Promise.resolve(chunks.get(number));
  if (pending.has(number)) return pending.get(number);
  const asked = query(), mine = generation;
  asked.set("offset", number * CHUNK); asked.set("limit", CHUNK);
  const coming = ask("/api/rows?" + asked).then((page) => {
    if (mine !== generation) return [];
    total = page.total; chunks.set(number, page.rows); pending.delete(number);
    return page.rows;
  });
  coming.catch(() => pending.delete(number));
  pending.set(number, coming);
  return coming;
}
const known = (place) => (chunks.get(Math.floor(place / CHUNK)) || [])[place % CHUNK];

async function reload() {
  generation += 1; chunks = new Map(); pending = new Map(); at = 0;
  sessionStorage.query = query().toString();
  for (const cell of cells.values()) cell.remove();
  cells.clear(); $("grid").scrollTop = 0;
  try { await load(0); layOut(); count(); } catch (error) { say(error.message, true); }
}
function count(decided) {
  if (decided !== undefined) meta.decided = decided;
  $("counts").textContent = `${total.toLocaleString("en")} of ${meta.total.toLocaleString("en")} crops, ${meta.decided.toLocaleString("en")} decided`;
}
function take(answer) {  // the version moves with polls alone: what answers a decision does not tell what others did
  const found = new Map(answer.rows.map((row) => [row.row, row]));
  for (const rows of chunks.values()) rows.forEach((row, k) => { if (found.has(row.row)) rows[k] = found.get(row.row); });
  for (const row of answer.rows) if (!meta.labels.includes(row.label) && row.action === "relabel") { meta.labels.push(row.label); nameLabels(); }
  for (const [place, cell] of cells) fill(cell, place);
  count(answer.decided);
  if (shownRow && found.has(shownRow.row)) showDetail();
}

// -- the grid: only the cells in sight exist -----------------------------------------------------------------------
function layOut() {
  const width = $("grid").clientWidth;
  if (!width) return;
  columns = Math.max(2, Math.floor(width / WIDEST));
  cellW = Math.floor(width / columns); cellH = cellW + TEXT_PX;
  $("room").style.height = Math.ceil(total / columns) * cellH + 40 + "px";
  for (const cell of cells.values()) cell.remove();
  cells.clear(); draw();
}
function draw() {
  const top = $("grid").scrollTop, high = $("grid").clientHeight;
  const first = Math.max(0, Math.floor(top / cellH) - 2) * columns;
  const last = Math.min(total, (Math.ceil((top + high) / cellH) + 2) * columns);
  for (const [place, cell] of cells) if (place < first || place >= last) { cell.remove(); cells.delete(place); }
  for (let place = first; place < last; place++) {
    if (cells.has(place)) continue;
    const cell = make("div", null, { class: "cell", role: "option", id: "cell-" + place, "aria-setsize": total, "aria-posinset": place + 1 });
    cell.style.left = (place % columns) * cellW + "px"; cell.style.top = Math.floor(place / columns) * cellH + "px";
    cell.style.width = cellW + "px"; cell.style.height = cellH + "px";
    cell.append(make("img", null, { class: "pic gone", alt: "" }), make("b"), make("small"), make("small"), make("span", null, { class: "mark" }));
    cell.firstChild.addEventListener("error", (event) => event.target.classList.add("gone"));
    cell.addEventListener("click", () => { go(place); $("grid").focus(); });
    cell.addEventListener("dblclick", open);
    $("room").append(cell); cells.set(place, cell); fill(cell, place);
  }
  for (let number = Math.floor(first / CHUNK); number * CHUNK < last; number++) {
    if (!chunks.has(number)) load(number).then(() => { for (const [place, cell] of cells) fill(cell, place); }).catch((error) => say(error.message, true));
  }
}
const MARKS = { accept: "✓ accepted", relabel: "relabelled", exclude: "excluded", unsure: "unsure" };
function fill(cell, place) {
  cell.setAttribute("aria-selected", place === at);
  const row = known(place);
  if (!row) return;
  const [picture, label, first, second, mark] = cell.children;
  const source = "/picture/crop/" + row.row;
  if (picture.getAttribute("src") !== source) { picture.classList.remove("gone"); picture.setAttribute("src", source); }
  label.textContent = row.label || "(no label)";
  first.textContent = row.predicted ? `${row.predicted} ${row.score.toFixed(2)}` : row.location || "";
  second.textContent = row.failure || row.issues.join(", ") || row.crop_id;
  mark.textContent = MARKS[row.action] || "";
  cell.dataset.action = row.action;
  const words = [row.label || "no label", MARKS[row.action], row.predicted && "predicted " + row.predicted, row.issues.join(", "), row.crop_id];
  cell.setAttribute("aria-label", words.filter(Boolean).join("; "));
}
function go(place) {
  if (!total) return;
  at = Math.max(0, Math.min(total - 1, place));
  const top = Math.floor(at / columns) * cellH, grid = $("grid");
  if (grid.clientHeight) {
    if (top < grid.scrollTop) grid.scrollTop = top;
    if (top + cellH > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + cellH - grid.clientHeight;
  }
  draw();
  for (const [other, cell] of cells) cell.setAttribute("aria-selected", other === at);
  grid.setAttribute("aria-activedescendant", "cell-" + at);
  if (!$("single").hidden) open();
}

// -- one crop ---------------------------------------------------------------------------------------------------
async function open() {
  try {
    await load(Math.floor(at / CHUNK));
    if (!known(at)) return;
    shownRow = known(at);
    const fresh = $("single").hidden;
    $("single").hidden = false; $("grid").inert = true;
    if (fresh) $("single").focus();
    await showDetail();
  } catch (error) { say(error.message, true); }
}
async function showDetail() {
  const row = shownRow.row, found = await ask("/api/crops/" + row);
  if (!shownRow || shownRow.row !== row) return;
  shownRow = found;
  $("title").textContent = (found.label || "(no label)") + (found.action ? ` · ${MARKS[found.action]}` : "");
  const facts = [["crop", found.crop_id], ["was", found.label !== found.first ? found.first : ""], ["predicted", found.predicted && `${found.predicted} ${found.score.toFixed(3)}`],
    ["issues", found.evidence], ["location", found.location], ["time", found.captured_at], ["split", found.split], ["failure", found.failure],
    ["decisions", found.history.map((d) => `${d.action} ${d.to} (${d.who})`).join("\n")]];
  $("facts").replaceChildren(...facts.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
  const full = $("full");
  const source = (found.box ? "/picture/frame/" : "/picture/crop/") + row;
  $("no-frame").textContent = found.box ? "" : "the crop: the full image, or the box in it, is not at hand";
  full.alt = found.box ? "the full image, the box drawn in it" : "the crop";
  full.onload = placeBox;
  full.onerror = () => { $("no-frame").textContent = found.failure || "the picture cannot be shown"; $("box").hidden = true; };
  if (full.getAttribute("src") !== source) { $("box").hidden = true; full.setAttribute("src", source); } else placeBox();
  strip($("burst"), found.burst, (other) => other.action ? MARKS[other.action] : other.label);
  strip($("alike"), found.neighbours, (other) => `${other.alike.toFixed(2)} ${other.label}`);
  if (!found.embedded) $("alike").textContent = "not known: run `trapline embed` first";
}
function placeBox() {
  const box = $("box"), full = $("full"), at = shownRow && shownRow.box;
  box.hidden = !at;
  if (!at) return;
  box.style.left = full.offsetLeft + at[0] * full.offsetWidth + "px"; box.style.top = full.offsetTop + at[1] * full.offsetHeight + "px";
  box.style.width = at[2] * full.offsetWidth + "px"; box.style.height = at[3] * full.offsetHeight + "px";
}
function strip(place, rows, words) {
  place.replaceChildren(...rows.map((other) => {
    const button = make("button", null, { type: "button", class: other.row === shownRow.row ? "here" : "", title: other.crop_id, "aria-label": `${words(other)}, ${other.crop_id}` });
    button.append(make("img", null, { class: "pic", src: "/picture/crop/" + other.row, alt: "" }), make("span", words(other)));
    button.addEventListener("click", () => { shownRow = other; showDetail().catch((error) => say(error.message, true)); });
    return button;
  }));
}
function close() {
  $("single").hidden = true; $("grid").inert = false; shownRow = null;
  layOut(); go(at); $("grid").focus();
}

// -- deciding -----------------------------------------------------------------------------------------------------
let queue = Promise.resolve();
function decide(action, to) {
  const aside = shownRow && known(at) && shownRow.row !== known(at).row, row = shownRow || known(at);
  if (!row) return;
  const whole = $("whole-burst").checked;
  queue = queue.then(async () => {
    try {
      const rows = whole ? (await ask("/api/crops/" + row.row)).burst.map((other) => other.row) : [row.row];
      const answer = await ask("/api/decide", { rows, action, to: to || "", tab: TAB });
      take(answer);
      say(`${MARKS[action]}${to ? ": " + to : ""}${rows.length > 1 ? `, ${rows.length} crops of the burst` : ""}`);
    } catch (error) { say(error.message, true); }
  });
  if (!aside && at < total - 1) go(at + 1);
}
function undo(row) {
  queue = queue.then(async () => {
    try {
      const answer = await ask("/api/undo", row === undefined ? { tab: TAB } : { tab: TAB, row });
      take(answer);
      say(answer.rows.length ? `taken back: ${answer.rows.length}` : "nothing to take back. Shift+U takes back what was decided about this crop.");
      const here = [...chunks].flatMap(([number, rows]) => rows.map((other, k) => [number * CHUNK + k, other])).find(([, other]) => answer.rows.some((one) => one.row === other.row));
      if (here) go(here[0]);
    } catch (error) { say(error.message, true); }
  });
}
const finder = new LabelFinder($("new-label"), $("found-labels"), () => meta.labels, () => $("ask").close("ok"));
function askLabel() { $("new-label").value = ""; $("ask").returnValue = ""; finder.show(); $("ask").showModal(); }
$("ask").addEventListener("close", () => { if ($("ask").returnValue === "ok" && finder.label) decide("relabel", finder.label); });
const DO = {
  accept: () => decide("accept"), exclude: () => decide("exclude"), unsure: () => decide("unsure"), undo: () => undo(),
  "undo-here": () => { const row = shownRow || known(at); if (row) undo(row.row); }, ask: askLabel,
  burst: () => { $("whole-burst").checked = !$("whole-burst").checked; }, filter: () => $("f-now").focus(), help: () => $("help").showModal(),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (target.closest("select, input:not([type=checkbox])")) { if (event.key === "Escape") $("grid").focus(); return; }
  if (event.key === "Escape" && !$("single").hidden) { close(); event.preventDefault(); return; }
  if (event.key === "Enter" && !target.closest("button, input")) { $("single").hidden ? open() : close(); event.preventDefault(); return; }
  if (event.key in MOVES) {
    if (target.closest("header")) return;
    const page = Math.max(1, Math.floor($("grid").clientHeight / cellH)) * columns, single = !$("single").hidden;
    const step = { up: single ? -1 : -columns, down: single ? 1 : columns, pageup: -page, pagedown: page, home: -total, end: total }[MOVES[event.key]] ?? MOVES[event.key];
    go(at + step); event.preventDefault(); return;
  }
  if (event.repeat && !(event.key in MOVES)) return;
  if (event.key in FIXED) { DO[FIXED[event.key][0]](); event.preventDefault(); return; }
  if (keys.has(event.key)) { decide("relabel", keys.get(event.key)); event.preventDefault(); }
});

// -- the beginning -------------------------------------------------------------------------------------------------
function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, words]) => { const option = make("option", words, {}); option.value = value; return option; }));
  select.value = chosen || "";
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}
function nameLabels() {
  keys = labelKeys(meta.labels);
  const list = [...Object.entries(FIXED).map(([key, [, words]]) => [key, words]), ["Enter", "one crop, and back"], ["arrows", "go on"],
    ...[...keys].map(([key, label]) => [key, "relabel: " + label])];
  $("keys").replaceChildren(...list.flatMap(([key, words]) => { const term = make("dt"); term.append(make("kbd", key)); return [term, make("dd", words)]; }));
  const buttons = [...["a", "x", "s", "u", "r"].map((key) => [key, FIXED[key][0] === "ask" ? "relabel…" : FIXED[key][0], DO[FIXED[key][0]]]),
    ...[...keys].map(([key, label]) => [key, label, () => decide("relabel", label)])];
  $("choices").replaceChildren(...buttons.map(([key, words, act]) => {
    const button = make("button", words + " ", { type: "button" });
    button.append(make("kbd", key)); button.addEventListener("click", act);
    return button;
  }));
}
async function poll() {
  try { const answer = await ask("/api/changes?since=" + version); if (answer.version !== version) { take(answer); version = answer.version; } } catch (error) { say(error.message, true); }
  setTimeout(poll, POLL_MS);
}
async function begin() {
  try { meta = await ask("/api/meta"); } catch (error) { say(error.message, true); return; }
  version = meta.version;
  const before = new URLSearchParams(sessionStorage.query || "");
  for (const name of FILTER_NAMES) {
    const every = [["", "all"], ...meta.options[name].map(([value, n]) => [value, `${value} (${n.toLocaleString("en")})`])];
    options($("f-" + name), every, before.get(name));
  }
  options($("f-sort"), meta.sorts.map((name) => [name, name]), before.get("sort"));
  nameLabels();
  $("filters").addEventListener("change", reload);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("again").addEventListener("click", reload);
  $("open-help").addEventListener("click", () => $("help").showModal());
  $("close").addEventListener("click", close);
  $("grid").addEventListener("scroll", draw, { passive: true });
  new ResizeObserver(() => { layOut(); placeBox(); }).observe(document.querySelector("main"));
  await reload();
  go(0); $("grid").focus();
  document.body.dataset.ready = "yes";
  setTimeout(poll, POLL_MS);
}
begin();
