// The table of utterances, one page at a time: headings sort, arrow keys move between rows.

const PAGE_ROWS = 50;

/** Columns of the second system only beside it; no speakers if each is named like its utterance. */
function shownColumns(utterances) {
  const repeats = utterances.every((utterance) => [utterance.id, shortId(utterance)].includes(utterance.speaker));
  return COLUMNS.filter(({ key, second }) => (second ? utterances[0]?.second : key !== "speaker" || !repeats));
}

function drawHead(table, columns, sort, onSort) {
  const cells = columns.map((column) => {
    const order = sort.key === column.key ? (sort.descending ? "descending" : "ascending") : "none";
    const button = element("button", { type: "button", title: column.title ?? null }, column.heading);
    button.addEventListener("click", () => onSort(column.key));
    const properties = { scope: "col", role: "columnheader", "aria-sort": order, className: `col-${column.key}` };
    return element("th", properties, button);
  });
  const row = element("tr", { role: "row", "aria-rowindex": 1 }, ...cells);
  table.replaceChildren(element("thead", { role: "rowgroup" }, row), element("tbody", { role: "rowgroup" }));
}

/** Kaldi's ids start with the speaker, which has a column of its own. */
function shortId({ id, speaker }) {
  return id.startsWith(`${speaker}-`) ? id.slice(speaker.length + 1) : id;
}

function cellText(utterance, { key, value }) {
  if (key === "id") return shortId(utterance);
  if (key === "duration") return decimal(utterance.duration ?? NaN);
  if (key === "rate") return decimal(utterance.first.rate);
  if (key === "change") return `${value(utterance) > 0 ? "+" : ""}${value(utterance)}`.replace("-", "−");
  return String(value(utterance));
}

/** data-label is for the narrow layout, which has no headings above the cells. */
function tableCell(utterance, column, language) {
  const text = cellText(utterance, column);
  const properties = { role: "gridcell", className: column.text ? `text col-${column.key}` : `col-${column.key}` };
  if (/reference|hypothesis/.test(column.key)) {
    const label = { reference: "REF", hypothesis: "HYP", hypothesis2: "HYP₂" }[column.key];
    Object.assign(properties, { lang: language, dir: direction(utterance), "data-label": label });
  } else if (column.text) {
    properties.title = column.value(utterance);
  } else {
    properties["data-label"] = column.heading;
  }
  return element("td", properties, column.key === "id" ? element("bdi", { dir: "ltr" }, text) : text);
}

/** view: {rows, page, chosen, sort, language}; handlers: {onSort, onChoose(utterance)}. */
function drawTable(table, view, handlers) {
  const columns = shownColumns(view.rows);
  drawHead(table, columns, view.sort, handlers.onSort);
  const start = view.page * PAGE_ROWS;
  const rows = view.rows.slice(start, start + PAGE_ROWS).map((utterance, offset) => {
    const properties = { role: "row", "aria-rowindex": start + offset + 2, "data-place": utterance.place };
    const row = element("tr", properties, ...columns.map((column) => tableCell(utterance, column, view.language)));
    row.addEventListener("click", () => handlers.onChoose(utterance));
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.setAttribute("aria-rowcount", view.rows.length + 1);
  table.setAttribute("aria-colcount", columns.length);
  markChosen(table, view.chosen);
}

/** One row is in the tab order: the chosen one, or the first. */
function markChosen(table, chosen) {
  const rows = [...table.tBodies[0].rows];
  const current = rows.find((row) => chosen && Number(row.dataset.place) === chosen.place);
  for (const row of rows) {
    row.tabIndex = row === (current ?? rows[0]) ? 0 : -1;
    row.setAttribute("aria-selected", row === current);
  }
  return current;
}

/** The row that a key moves to from the row at `place` of `rows`; null for other keys. */
function nextPlace(key, place, rows) {
  const target = { ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + PAGE_ROWS, PageUp: place - PAGE_ROWS };
  Object.assign(target, { Home: 0, End: rows - 1 });
  return key in target ? Math.min(Math.max(target[key], 0), rows - 1) : null;
}
