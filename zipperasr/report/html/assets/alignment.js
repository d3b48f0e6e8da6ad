// Details of the selected utterance: alignment as REF, HYP and Eval; audio; texts before normalisation.

const GAP = "***"; // as sclite writes it
const OPERATIONS = { C: "correct", S: "substituted", D: "deleted", I: "inserted" };

/** A combining mark alone is shown on a dotted circle. */
const visible = (unit) => (/^\p{M}/u.test(unit) ? `◌${unit}` : unit);

function alignment(utterance, outcome, column) {
  const columns = steps(utterance, outcome).map(([operation, ref, hyp]) => {
    const [above, below] = [ref === null ? GAP : visible(ref), hyp === null ? GAP : visible(hyp)];
    const spoken = `${ref ?? "nothing"} ${operation === "C" ? "" : `→ ${hyp ?? "nothing"}`} ${OPERATIONS[operation]}`;
    const cells = [above, below, operation === "C" ? "\u00a0" : operation].map((text) =>
      element("span", { "aria-hidden": "true" }, text),
    );
    return element("li", { className: `op-${operation}` }, element("span", { className: "unseen" }, spoken), ...cells);
  });
  const labels = ["REF", "HYP", "Eval"].map((text) => element("span", {}, text));
  const head = element("li", { className: "labels", "aria-hidden": "true", dir: "ltr" }, ...labels);
  const properties = { className: `alignment ${column.unit}`, dir: direction(utterance), lang: column.language };
  return element("ol", properties, head, ...columns);
}

function outcomeLine({ S, D, I, units, errors, rate, flags, empty }) {
  const names = [...new Set([...(empty ? ["empty"] : []), ...flags])].map((flag) => FLAGS[flag] ?? flag);
  const counted = `${errors} errors in ${units} units, ${decimal(rate)} %: ${S} S, ${D} D, ${I} I`;
  return element("p", { className: "outcome" }, [counted, ...names].join(" · "));
}

/** words: of each system, or null. audio: the player of the words. */
function rawTexts(utterance, systems, words, column, audio) {
  const rows = [["Reference", utterance.raw, null], [systems[0], utterance.first.raw, words[0]]];
  if (utterance.second) rows.push([systems[1], utterance.second.raw, words[1]]);
  const pairs = rows.flatMap(([name, text, timed]) => {
    const shown = timed ? playable(text, timed, audio) : [text || "(empty)"];
    return [element("dt", {}, name), element("dd", { dir: direction(utterance), lang: column.language }, ...shown)];
  });
  const hint = words.some(Boolean) ? ": click a word to play it; darker underlines mean lower confidence" : "";
  const heading = element("h4", {}, `Before normalisation${hint}`);
  return element("div", { className: "raw" }, heading, element("dl", {}, ...pairs));
}

/** An <audio> element, or the reason why there is none. */
function player(utterance, column, index) {
  const copied = index.audio[column.set];
  if (copied?.includes(utterance.id)) {
    const path = [index.audio_dir, column.set, `${utterance.id}.flac`].map(encodeURIComponent).join("/");
    const label = `Audio of ${utterance.id}`;
    return element("audio", { controls: true, preload: "metadata", src: path, "aria-label": label });
  }
  const why = copied
    ? `No audio: only the ${count(copied.length)} utterances of this test set with the most errors have audio here ` +
      "(--audio_utts chooses how many)."
    : "No audio of this test set; see “Left out of this page”.";
  return element("p", { className: "note" }, why);
}

/** systems: names of the one or two shown. words: theirs, or null. onClose() is called by the button. */
function drawDetail(panel, utterance, systems, words, column, index, onClose) {
  const close = element("button", { type: "button", "aria-label": "Close the utterance" }, "Close");
  close.addEventListener("click", onClose);
  const facts = [utterance.speaker, utterance.duration === null ? null : `${decimal(utterance.duration, 2)} s`];
  if (utterance.repeat > 1) facts.push(`listed ${utterance.repeat} times`);
  const audio = player(utterance, column, index);
  const heading = element(
    "div",
    { className: "heading" },
    element("h3", {}, utterance.id),
    element("span", { className: "note" }, facts.filter(Boolean).join(" · ")),
    audio,
    close,
  );
  const parts = [utterance.first, utterance.second].filter(Boolean).flatMap((outcome, place) => {
    const line = element("div", { className: "outcome-line" }, outcomeLine(outcome));
    if (utterance.second) line.prepend(element("h4", {}, systems[place]));
    return [line, alignment(utterance, outcome, column)];
  });
  panel.replaceChildren(heading, ...parts, rawTexts(utterance, systems, words, column, audio));
  panel.hidden = false;
  panel.scrollTop = 0;
}
