// Words of a hypothesis with their times: each one can be played, and is marked while it is heard.

/** The text as nodes, its words as buttons. timed: [[word, start, end, confidence], ...] in the order of the text. */
function playable(text, timed, audio) {
  const nodes = [];
  let place = 0;
  const buttons = timed.map(([word, start, end, confidence]) => {
    const found = text.indexOf(word, place);
    nodes.push(text.slice(place, found));
    place = found + word.length;
    const button = wordButton(word, start, end, confidence);
    button.addEventListener("click", () => playSpan(audio, start, end));
    nodes.push(button);
    return { button, start, end };
  });
  audio.addEventListener("play", () => follow(audio, buttons));
  for (const type of ["seeked", "pause"]) audio.addEventListener(type, () => markHeard(audio, buttons));
  return [...nodes, text.slice(place)];
}

function wordButton(word, start, end, confidence) {
  const sure = confidence === null ? "" : `, confidence ${decimal(confidence, 2)}`;
  const title = `${decimal(start, 2)} to ${decimal(end, 2)} s${sure}`;
  const button = element("button", { type: "button", className: "word", title }, word);
  button.style.setProperty("--doubt", confidence === null ? 0 : 1 - confidence);
  return button;
}

function playSpan(audio, start, end) {
  audio.dataset.until = end;
  audio.currentTime = start;
  audio.play().catch((error) => showStatus(`The audio does not play: ${error.message}`));
}

/** In every frame of the screen: timeupdate comes four times a second, and words are shorter. */
function follow(audio, buttons) {
  if (audio.currentTime >= Number(audio.dataset.until ?? Infinity)) audio.pause();
  markHeard(audio, buttons);
  if (audio.paused || audio.ended) delete audio.dataset.until; // afterwards, the player's button plays everything
  else requestAnimationFrame(() => follow(audio, buttons));
}

function markHeard(audio, buttons) {
  for (const { button, start, end } of buttons) {
    const heard = !audio.paused && audio.currentTime >= start && audio.currentTime < end;
    button.classList.toggle("heard", heard);
  }
}
