// State of the page, and redrawing when it changes.

const index = JSON.parse(byId("index").textContent);
const form = byId("filters");
const table = byId("table");
const panel = byId("detail");
const FLAG_KINDS = ["burst", "loop", "script", "language", "chat"]; // need flags of stage 8; empty output does not
const WORST_FIRST = { key: "errors", descending: true };

const state = {
  system: 0,
  column: 0,
  beside: null,
  scoreSort: null,
  sort: WORST_FIRST,
  filter: { text: "", rate: 0, kinds: [], step: null },
  utterances: [],
  words: [new Map(), new Map()], // of the first and the second system
  rows: [],
  page: 0,
  chosen: null,
};
let latestLoad = 0;

const blocksOf = (system, column) => index.scores[system]?.[column]?.blocks ?? null;
const namesShown = () => [state.system, state.beside].map((s) => (s === null ? null : systemName(index.systems[s])));

function redrawScores() {
  drawScores(byId("scores"), index, state.scoreSort, open, (column) => {
    const descending = state.scoreSort?.column === column && !state.scoreSort.descending;
    state.scoreSort = { column, descending };
    redrawScores();
    byId("scores").querySelectorAll("thead button")[column].focus();
  });
  markOpen();
}

function markOpen() {
  byId("scores").querySelector(".open")?.classList.remove("open");
  byId(`score-${state.system}-${state.column}`)?.classList.add("open");
}

function fillChoices() {
  const options = (names, offered) =>
    names.map((name, value) => element("option", { value, disabled: !offered(value) }, name));
  const names = index.systems.map(systemName);
  const inPage = (column) => index.scores.some((row) => row[column]?.blocks);
  form.system.replaceChildren(...options(names, (s) => blocksOf(s, state.column)));
  form.column.replaceChildren(...options(index.columns.map(setName), inPage));
  const shared = blocksOf(state.system, state.column)?.shared;
  const comparable = (s) => s !== state.system && blocksOf(s, state.column)?.shared === shared;
  form.beside.replaceChildren(element("option", { value: "" }, "none"), ...options(names, comparable));
  if (state.beside !== null && !comparable(state.beside)) state.beside = null;
  form.system.value = state.system;
  form.column.value = state.column;
  form.beside.value = state.beside ?? "";
}

function load() {
  unpackChosen().catch((error) => {
    showStatus(`The data cannot be unpacked here: ${error.message}`);
    throw error;
  });
}

async function unpackChosen() {
  const load = (latestLoad += 1);
  const blocks = blocksOf(state.system, state.column);
  if (!blocks) return showStatus("No utterances of this system and test set are in the page.");
  fillChoices();
  markOpen();
  const onProgress = (rows) => load === latestLoad && showStatus(`Unpacking, ${count(rows)} utterances …`);
  const wanted = [blocks.shared, blocks.own];
  if (state.beside !== null) wanted.push(blocksOf(state.beside, state.column).own);
  const [shared, own, beside] = await Promise.all(wanted.map((id) => loadBlock(id, onProgress)));
  const timed = await Promise.all([state.system, state.beside].map((system) => wordsOf(system)));
  if (load !== latestLoad) return; // another test set was chosen in the meantime
  state.utterances = joined(shared, own, beside ?? null, index.columns[state.column].unit);
  state.words = timed;
  offerFlags(blocks.flagged);
  if (state.beside === null && COLUMNS.find(({ key }) => key === state.sort.key).second) state.sort = WORST_FIRST;
  const kept = state.chosen && state.utterances[state.chosen.place];
  state.chosen = kept?.id === state.chosen?.id ? kept : null;
  refilter();
}

/** Words of a system's utterances with audio: id -> [[word, start, end, confidence], ...]. */
async function wordsOf(system) {
  const block = system === null ? null : blocksOf(system, state.column)?.words;
  return new Map(block ? await loadBlock(block, () => {}) : []);
}

function offerFlags(flagged) {
  for (const box of form.querySelectorAll("[name=kind]")) {
    if (!FLAG_KINDS.includes(box.value)) continue;
    box.disabled = !flagged;
    if (!flagged) box.checked = false;
  }
  byId("unflagged").hidden = flagged;
  byId("unflagged").textContent = "Not available for bursts, loops, scripts, languages and chat replies: these scores have no flags; rerun stage 8.";
  state.filter.kinds = [...form.querySelectorAll("[name=kind]:checked")].map((box) => box.value);
}

function refilter() {
  state.rows = filtered(state.utterances, state.filter);
  resort();
}

function resort() {
  sorted(state.rows, state.sort);
  const place = state.chosen ? state.rows.indexOf(state.chosen) : -1;
  if (place < 0) state.chosen = null;
  state.page = Math.max(0, Math.floor(place / PAGE_ROWS));
  redraw();
  drawChosen();
  redrawConfusions();
}

function redraw() {
  const language = index.columns[state.column].language;
  drawTable(table, { ...state, language }, { onSort, onChoose: choose });
  const pages = Math.ceil(state.rows.length / PAGE_ROWS);
  byId("page").textContent = pages > 1 ? `${count(state.page + 1)} of ${count(pages)}` : "";
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page + 1 >= pages;
  const errors = state.rows.reduce((sum, { first }) => sum + first.errors, 0);
  const units = state.rows.reduce((sum, { first }) => sum + first.units, 0);
  const narrowed = state.filter.step ? ` · ${stepText(state.filter.step)}` : "";
  const rate = units ? `${decimal((100 * errors) / units, 2)} %, ` : "";
  const shown = `${count(state.rows.length)} of ${count(state.utterances.length)} utterances`;
  showStatus(`${shown}: ${rate}${count(errors)} errors in ${count(units)} units${narrowed}`);
  performance.mark("table"); // what benchmarks/page.py waits for
}

function showStatus(text) {
  byId("status").textContent = text;
}

function redrawConfusions() {
  const box = byId("confusions");
  if (!box.open) return;
  drawConfusions(box.querySelector("div"), state.rows, index.columns[state.column], (step) => {
    state.filter.step = step;
    refilter();
    table.tBodies[0].rows[0]?.focus();
  });
}

function onSort(key) {
  const { text } = COLUMNS.find((column) => column.key === key);
  const descending = state.sort.key === key ? !state.sort.descending : !text;
  state.sort = { key, descending };
  state.chosen = null;
  resort();
  table.querySelector(`th.col-${key} button`).focus();
}

function choose(utterance, focus = true) {
  state.chosen = utterance;
  const page = Math.floor(state.rows.indexOf(utterance) / PAGE_ROWS);
  if (page !== state.page) {
    state.page = page;
    redraw();
  }
  drawChosen();
  const row = markChosen(table, utterance);
  if (focus) row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function drawChosen() {
  if (!state.chosen) {
    panel.hidden = true;
    panel.replaceChildren();
    return;
  }
  const words = state.words.map((timed) => timed.get(state.chosen.id) ?? null);
  drawDetail(panel, state.chosen, namesShown(), words, index.columns[state.column], index, closeDetail);
}

function closeDetail() {
  const place = state.chosen?.place;
  state.chosen = null;
  drawChosen();
  markChosen(table, null);
  table.querySelector(`[data-place="${place}"]`)?.focus();
}

function turn(pages) {
  state.page += pages;
  redraw();
  table.scrollIntoView({ block: "start" });
}

/** A rate in the score table was chosen. */
function open(system, column) {
  Object.assign(state, { system, column, chosen: null });
  state.filter.step = null;
  load();
  byId("utterances").scrollIntoView({ block: "start" });
  byId("utterances").focus({ preventScroll: true });
}

function onTableKey(event) {
  const row = event.target.closest("tbody tr");
  if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
  const place = state.rows.findIndex((utterance) => utterance.place === Number(row.dataset.place));
  const next = nextPlace(event.key, place, state.rows.length);
  if (next !== null) choose(state.rows[state.chosen || next === 0 ? next : place]);
  else if (event.key === "Enter") {
    choose(state.rows[place]);
    panel.focus();
  } else if (event.key === " ") {
    if (!state.chosen) choose(state.rows[place]);
    playOrPause();
  } else if (event.key === "Escape") closeDetail();
  else return;
  event.preventDefault();
}

function playOrPause() {
  const audio = panel.querySelector("audio");
  if (!audio) return;
  if (!audio.paused) return audio.pause();
  audio.play().catch((error) => showStatus(`The audio does not play: ${error.message}`));
}

function onFilter() {
  const kinds = [...form.querySelectorAll("[name=kind]:checked")].map((box) => box.value);
  const rate = Number.parseFloat(form.rate.value);
  state.filter = { text: form.text.value, rate: Number.isFinite(rate) ? rate : 0, kinds, step: state.filter.step };
  refilter();
}

function onChoice() {
  const beside = form.beside.value === "" ? null : Number(form.beside.value);
  const column = Number(form.column.value);
  let system = Number(form.system.value);
  if (!blocksOf(system, column)) system = index.scores.findIndex((row) => row[column]?.blocks);
  state.filter.step = null;
  Object.assign(state, { system, column, beside: beside === system ? null : beside });
  load();
}

function start() {
  startTheme(byId("theme"));
  byId("scores-note").textContent = scoresNote(index);
  byId("notes").hidden = index.notes.length === 0;
  byId("notes").querySelector("ul").replaceChildren(...index.notes.map((note) => element("li", {}, note)));
  form.addEventListener("change", (event) => event.target.tagName === "SELECT" && onChoice());
  form.addEventListener("input", (event) => event.target.tagName === "SELECT" || onFilter());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // systems and test set stay
    form.text.value = form.rate.value = "";
    for (const box of form.querySelectorAll("[name=kind]")) box.checked = false;
    state.filter.step = null;
    onFilter();
  });
  table.addEventListener("keydown", onTableKey);
  panel.addEventListener("keydown", (event) => event.key === "Escape" && closeDetail());
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("confusions").addEventListener("toggle", redrawConfusions);
  state.system = Math.max(0, index.scores.findIndex((row) => row.some((cell) => cell?.blocks)));
  state.column = Math.max(0, index.scores[state.system].findIndex((cell) => cell?.blocks));
  redrawScores();
  showOverflow(byId("scores").parentElement);
  load();
}

start();
