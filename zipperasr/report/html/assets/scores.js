// The score table: systems by test sets; a rate opens its utterances.

const UNITS = { wer: "WER", cer: "CER" };

const setName = (column) => `${column.name}, ${column.label}, ${UNITS[column.unit]}, ${column.normaliser}`;
const systemName = (system) => [system.name, system.detail].filter(Boolean).join(", ");

/** Lowest rate of each column with two systems or more; null for the others. */
function lowest(index) {
  return index.columns.map((_, place) => {
    const rates = index.scores.map((row) => row[place]?.rate).filter(Number.isFinite);
    return rates.length > 1 ? Math.min(...rates) : null;
  });
}

function scoresNote(index) {
  const cells = index.scores.flat().filter(Boolean);
  const ways = new Set(cells.filter((cell) => cell.interval).map(({ resampled_by: by }) => `${by ?? "utterance"}s`));
  const interval = ways.size
    ? `Below each rate: its 95 % interval, by resampling ${[...ways].sort().join(" or ")}. `
    : "These scores have no intervals; rerun stage 8. ";
  return (
    "WER counts words, CER graphemes without spaces, after the normaliser named in the heading; each utterance " +
    `counts once. ${interval}Bold with a bar: the lowest rate of its column, which may be due to chance. ` +
    "Choose a rate to see its utterances."
  );
}

/** onOpen(system, column) is called when a rate is chosen, onSort(column) when a heading is. */
function drawScores(table, index, sort, onOpen, onSort) {
  const best = lowest(index);
  const languages = [];
  for (const column of index.columns) {
    const last = languages.at(-1);
    if (last?.code === column.language) last.span += 1;
    else languages.push({ code: column.language, name: column.name, span: 1 });
  }
  const groups = languages.map(({ name, span }) =>
    element("th", { scope: "colgroup", colspan: span, className: "group" }, name),
  );
  const headings = index.columns.map((column, place) => {
    const order = sort?.column === place ? (sort.descending ? "descending" : "ascending") : "none";
    const lines = [column.label, `${UNITS[column.unit]} · ${column.normaliser}`];
    const spans = lines.map((line) => element("span", {}, line));
    const button = element("button", { type: "button", title: column.set }, ...spans);
    button.addEventListener("click", () => onSort(place));
    return element("th", { scope: "col", "aria-sort": order, className: startsLanguage(index, place) }, button);
  });
  const rows = rowOrder(index, sort).map((system) =>
    element(
      "tr",
      {},
      element(
        "th",
        { scope: "row", title: index.systems[system].path },
        element("span", {}, index.systems[system].name),
        element("small", {}, index.systems[system].detail),
      ),
      ...index.columns.map((_, place) => scoreCell(index, system, place, best[place], onOpen)),
    ),
  );
  const corner = element("th", { rowspan: 2, scope: "col" }, "System");
  const head = element("thead", {}, element("tr", {}, corner, ...groups), element("tr", {}, ...headings));
  table.replaceChildren(head, element("tbody", {}, ...rows));
}

/** Mark the frame of a scrolling box as long as columns to the right are out of view. */
function showOverflow(box) {
  const update = () => {
    const hidden = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.parentElement.classList.toggle("continues", hidden > 1);
  };
  box.addEventListener("scroll", update, { passive: true });
  new ResizeObserver(update).observe(box);
  update();
}

function startsLanguage(index, place) {
  return index.columns[place - 1]?.language === index.columns[place].language ? "" : "first";
}

function rowOrder(index, sort) {
  const order = index.systems.map((_, place) => place);
  if (!sort) return order;
  const rate = (system) => index.scores[system][sort.column]?.rate ?? Infinity;
  return order.sort((a, b) => (sort.descending ? rate(b) - rate(a) : rate(a) - rate(b)) || a - b);
}

function scoreCell(index, system, place, best, onOpen) {
  const cell = index.scores[system][place];
  if (!cell) return element("td", { className: startsLanguage(index, place) }, element("div", {}, MISSING));
  const isBest = best !== null && cell.rate === best;
  const rate = element(isBest ? "strong" : "span", { className: "rate" }, decimal(cell.rate, 2));
  const interval = cell.interval && `${decimal(cell.interval[0])}–${decimal(cell.interval[1])}`;
  const parts = [rate, interval ? element("small", {}, interval) : null];
  if (isBest) parts.push(element("span", { className: "unseen" }, " lowest of the column"));
  const title =
    `${setName(index.columns[place])}: ${count(cell.errors)} errors (${count(cell.sub)} S, ${count(cell.del)} D, ` +
    `${count(cell.ins)} I) in ${count(cell.units)} units of ${count(cell.utts)} utterances; ${count(cell.empty)} empty` +
    (cell.interval ? `; 95 % interval over ${cell.resampled_by ?? "utterance"}s` : "");
  const content = element(cell.blocks ? "button" : "div", { title }, ...parts);
  if (cell.blocks) {
    content.type = "button";
    content.addEventListener("click", () => onOpen(system, place));
  }
  const id = `score-${system}-${place}`;
  return element("td", { id, className: `${isBest ? "best " : ""}${startsLanguage(index, place)}` }, content);
}
