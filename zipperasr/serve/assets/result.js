"use strict";
// Show a transcript: text, segments, language probabilities, router weights.

/** Minutes and seconds. */
function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

/** answer: verbose_json. about: model.json. onPlay: called with a start in seconds. */
function drawResult(answer, about, onPlay) {
  const code = answer.zipperasr.language_code;
  const language = about.languages.find((one) => one.code === code);
  drawText(answer, code);
  drawSegments(answer, code, onPlay);
  drawLanguages(answer.zipperasr.language_probabilities, code, language, about);
  drawRouter(about.router, code, language);
  byId("result").hidden = false;
}

function drawText(answer, code) {
  const text = byId("text");
  text.replaceChildren(...(answer.text ? withDoubts(answer) : ["No text."]));
  text.classList.toggle("note", !answer.text);
  text.lang = answer.text ? code : "en";
  byId("copy").disabled = !answer.text;
  const { transcribed_s: taken, waited_s: waited } = answer.zipperasr;
  const wait = waited >= 0.05 ? `, after ${decimal(waited)} s in the queue` : "";
  byId("taken").textContent = `${decimal(answer.duration)} s of audio, transcribed in ${decimal(taken, 2)} s${wait}`;
  const noted = answer.segments.filter(({ note, doubts }) => note || doubts.length);
  const lines = noted.map(({ start, end, note, doubts }) => {
    const reasons = doubts.length ? `doubtful: ${doubts.join("; ")}` : note;
    return element("li", {}, `${clock(start)} to ${clock(end)}: ${reasons}`);
  });
  byId("notes").replaceChildren(...lines);
  byId("notes").hidden = noted.length === 0;
}

/** The text as nodes, in which the text of doubtful segments is marked. */
function withDoubts({ text, segments }) {
  const nodes = [];
  let place = 0;
  for (const { text: part, doubts } of segments) {
    const start = part ? text.indexOf(part, place) : -1;
    if (start < 0) continue;
    nodes.push(text.slice(place, start));
    nodes.push(doubts.length ? element("mark", { title: `doubtful: ${doubts.join("; ")}` }, part) : part);
    place = start + part.length;
  }
  return [...nodes, text.slice(place)];
}

function drawSegments({ segments }, code, onPlay) {
  const rows = segments.map(({ start, end, text, note }) => {
    const name = `${clock(start)} – ${clock(end)}`;
    const play = element("button", { type: "button", title: "Play from here", "aria-label": `Play ${name}` }, `▶ ${name}`);
    play.addEventListener("click", () => onPlay(start));
    const heading = element("th", { scope: "row" }, play);
    return element("tr", {}, heading, element("td", { dir: "auto", lang: text ? code : "en" }, text || note || MISSING));
  });
  const box = byId("segments");
  box.querySelector("summary").textContent = segments.length === 1 ? "1 segment with its times" : `${segments.length} segments with their times`;
  box.querySelector("table").replaceChildren(element("tbody", {}, ...rows));
  box.open = segments.length > 1;
}

const UNLIKELY = 0.01; // languages below this probability are collapsed

/** Bars with numbers, the likeliest first; the one that was taken is marked by a sign and bold type too. */
function drawLanguages(probabilities, code, language, about) {
  const found = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  const name = (wanted) => about.languages.find((one) => one.code === wanted)?.name ?? wanted;
  const row = ([key, share]) => {
    const bar = element("span", {});
    bar.style.width = `${100 * share}%`;
    const gauge = element("span", { className: "gauge", "aria-hidden": "true" }, bar);
    const heading = element("th", { scope: "row" }, `${name(key)} (${key})`);
    const properties = key === code ? { className: "taken", "aria-current": "true" } : {};
    return element("tr", properties, heading, element("td", {}, gauge), element("td", {}, `${decimal(100 * share)} %`));
  };
  const likely = found.filter(([key, share]) => share >= UNLIKELY || key === code);
  const unlikely = found.filter((one) => !likely.includes(one));
  byId("languages").replaceChildren(element("tbody", {}, ...likely.map(row)));
  const collapsed = byId("unlikely");
  collapsed.hidden = unlikely.length === 0;
  collapsed.querySelector("summary").textContent = `${unlikely.length} below ${100 * UNLIKELY} %`;
  collapsed.querySelector("table").replaceChildren(element("tbody", {}, ...unlikely.map(row)));
  const chosen = language ? `${language.name} was selected, so no language was detected.` : "The recording contains no speech.";
  byId("language-note").textContent = found.length ? "Detected by Whisper in the first 30 s of speech." : chosen;
}

/** A table of numbers, shaded by them. */
function drawRouter(router, code, language) {
  const scroll = byId("router").parentElement;
  scroll.hidden = !router || !language;
  if (scroll.hidden) {
    byId("router-note").textContent = router ? "No weights without a language." : "This model's LoRA variant has no router.";
    return byId("router").replaceChildren();
  }
  const values = router.rows.flatMap((row) => row.p[code]).filter((p) => p !== null);
  const mean = values.reduce((sum, p) => sum + p, 0) / values.length;
  const [high, low] = router.high === "own" ? ["the language's own", "the shared"] : ["the shared", "the language's own"];
  byId("router-note").textContent =
    `p(${code}), ${language.name}, in each adapted layer, averaged over ranks: near 1, the layer uses ${high} columns of B, ` +
    `near 0, ${low} ones. Mean of all layers: ${decimal(mean, 3)}.`;
  const headings = ["Layer", ...router.columns].map((text) => element("th", { scope: "col" }, text));
  const rows = router.rows.map(({ layer, p }) =>
    element("tr", {}, element("th", { scope: "row" }, layer < 0 ? "" : String(layer)), ...p[code].map(routerCell)),
  );
  byId("router").replaceChildren(
    element("thead", {}, element("tr", {}, ...headings)),
    element("tbody", {}, ...rows),
  );
}

function routerCell(p) {
  const cell = element("td", { className: p === null ? "absent" : "" }, decimal(p ?? Number.NaN, 3));
  if (p !== null) cell.style.setProperty("--p", p);
  return cell;
}
