// The utterances of a system and a test set: join their blocks, filter, sort.

const FLAGS = {
  empty: "empty output",
  burst: "insertion burst",
  loop: "repetition loop",
  script: "other script",
  language: "other language",
  chat: "chat reply",
};

/** Operations counted: {C, S, D, I}. */
function tally(operations) {
  const counts = { C: 0, S: 0, D: 0, I: 0 };
  for (const operation of operations) counts[operation] += 1;
  return counts;
}

/** Text for reading: words with spaces, characters without. */
const plain = (spaced, unit) => (unit === "cer" ? spaced.replaceAll(" ", "") : spaced);

/** One system's part of an utterance. */
function outcome([raw, spaced, operations, flags = []], unit) {
  const { C, S, D, I } = tally(operations);
  const units = C + S + D;
  const errors = S + D + I;
  const rate = units ? (100 * errors) / units : errors ? Infinity : 0;
  const empty = C + S + I === 0;
  const hypothesis = plain(spaced, unit);
  return { raw, spaced, hypothesis, operations, flags, S, D, I, units, errors, rate, empty };
}

/** Rows of both blocks as utterances. beside: rows of a second system, or null. */
function joined(shared, own, beside, unit) {
  return shared.map(([id, speaker, duration, raw, spaced, repeat], place) => {
    const first = outcome(own[place], unit);
    const second = beside ? outcome(beside[place], unit) : null;
    return { place, id, speaker, duration, raw, spaced, reference: plain(spaced, unit), repeat, first, second };
  });
}

/** Steps of an alignment: [operation, reference unit or null, hypothesis unit or null]. */
function steps(utterance, { spaced, operations }) {
  const left = utterance.spaced.split(" ");
  const right = spaced.split(" ");
  let r = 0;
  let h = 0;
  return Array.from(operations, (operation) => [
    operation,
    operation === "I" ? null : left[r++],
    operation === "D" ? null : right[h++],
  ]);
}

function hasKind({ first }, kind) {
  if (kind in first && kind.length === 1) return first[kind] > 0;
  return kind === "empty" ? first.empty || first.flags.includes(kind) : first.flags.includes(kind);
}

function hasText({ id, speaker, reference, raw, first, second }, wanted) {
  const texts = [id, speaker, reference, raw, first.hypothesis, first.raw, second?.hypothesis ?? ""];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

function hasStep(utterance, [operation, reference, hypothesis]) {
  if (!utterance.first[operation]) return false;
  return steps(utterance, utterance.first).some(
    ([op, ref, hyp]) => op === operation && ref === reference && hyp === hypothesis,
  );
}

/** filter: {text, rate, kinds, step}. */
function filtered(utterances, filter) {
  const text = filter.text.trim().toLowerCase();
  return utterances.filter(
    (utterance) =>
      utterance.first.rate >= filter.rate &&
      filter.kinds.every((kind) => hasKind(utterance, kind)) &&
      (!text || hasText(utterance, text)) &&
      (!filter.step || hasStep(utterance, filter.step)),
  );
}

/** Columns of the table: key, heading, value to sort by, meaning. */
const COLUMNS = [
  { key: "id", heading: "Utterance", value: (u) => u.id, text: true },
  { key: "speaker", heading: "Speaker", value: (u) => u.speaker, text: true },
  { key: "duration", heading: "s", value: (u) => u.duration ?? -1, title: "duration in seconds" },
  { key: "units", heading: "N", value: (u) => u.first.units, title: "reference units" },
  { key: "errors", heading: "Err", value: (u) => u.first.errors, title: "errors" },
  { key: "rate", heading: "%", value: (u) => u.first.rate, title: "error rate in per cent" },
  { key: "S", heading: "S", value: (u) => u.first.S, title: "substitutions" },
  { key: "D", heading: "D", value: (u) => u.first.D, title: "deletions" },
  { key: "I", heading: "I", value: (u) => u.first.I, title: "insertions" },
  {
    key: "errors2",
    heading: "Err₂",
    value: (u) => u.second.errors,
    title: "errors of the second system",
    second: true,
  },
  {
    key: "change",
    heading: "Δ",
    value: (u) => u.second.errors - u.first.errors,
    title: "errors of the second system minus those of the first",
    second: true,
  },
  { key: "reference", heading: "Reference", value: (u) => u.reference, text: true },
  { key: "hypothesis", heading: "Hypothesis", value: (u) => u.first.hypothesis, text: true },
  { key: "hypothesis2", heading: "Second hypothesis", value: (u) => u.second.hypothesis, text: true, second: true },
];

/** Sort in place by a column; ties stay in the order of ids. sort: {key, descending}. */
function sorted(utterances, sort) {
  const column = COLUMNS.find(({ key }) => key === sort.key);
  const sign = sort.descending ? -1 : 1;
  const keys = new Map(utterances.map((utterance) => [utterance, column.value(utterance)]));
  return utterances.sort((a, b) => {
    const [left, right] = [keys.get(a), keys.get(b)];
    if (left < right) return -sign;
    return left > right ? sign : a.place - b.place;
  });
}
