// The most frequent substitutions, deletions and insertions in the utterances shown.

const MOST_CONFUSIONS = 40; // of each kind
const CONFUSIONS = { S: "Substituted", D: "Deleted", I: "Inserted" };

/** {S, D, I}: [[times, step], ...], the most frequent first. */
function confusions(utterances) {
  const found = { S: new Map(), D: new Map(), I: new Map() };
  for (const utterance of utterances) {
    if (!utterance.first.errors) continue;
    for (const step of steps(utterance, utterance.first)) {
      const [operation, ref, hyp] = step;
      if (operation === "C") continue;
      const key = `${ref ?? ""}\n${hyp ?? ""}`;
      const known = found[operation].get(key);
      if (known) known[0] += 1;
      else found[operation].set(key, [1, step]);
    }
  }
  const order = ([times, step], [others, other]) => others - times || (String(step) < String(other) ? -1 : 1);
  return Object.fromEntries(
    Object.entries(found).map(([operation, steps]) => [operation, [...steps.values()].sort(order)]),
  );
}

/** Three lists; onChoose(step) narrows the table to utterances with that step. */
function drawConfusions(box, utterances, column, onChoose) {
  const lists = Object.entries(confusions(utterances)).map(([operation, found]) => {
    const items = found.slice(0, MOST_CONFUSIONS).map(([times, step]) => {
      const [, ref, hyp] = step;
      const words = [ref, hyp].filter((word) => word !== null).map((word) => element("bdi", {}, visible(word)));
      if (words.length === 2) words.splice(1, 0, element("span", { className: "arrow" }, "→"));
      const button = element("button", { type: "button", lang: column.language }, ...words);
      button.addEventListener("click", () => onChoose(step));
      return element("li", {}, element("span", { className: "times" }, count(times)), button);
    });
    const rest = Math.max(found.length - MOST_CONFUSIONS, 0);
    const title = `${CONFUSIONS[operation]}${rest ? `, the first ${MOST_CONFUSIONS} of ${count(found.length)}` : ""}`;
    return element("div", {}, element("h4", {}, title), items.length ? element("ol", {}, ...items) : MISSING);
  });
  box.replaceChildren(...lists);
}

/** The selected step in words. */
function stepText([operation, ref, hyp]) {
  return `${CONFUSIONS[operation].toLowerCase()}: ${[ref, hyp].filter((word) => word !== null).join(" → ")}`;
}
