// The form: choose or record a file and send it, or speak and read.

const form = byId("ask");
const drop = byId("drop");
const player = byId("player");
const about = await (await fetch("/model.json")).json();
let file = null;
let recording = null;
let request = null;
let live = null; // {}, then {stop, done}
const liveText = new LiveText();
let reference = ""; // transcript of the chosen recording, if it is a sample

function showError(error) {
  byId("error").hidden = !error;
  byId("error").textContent = error ? error.message : "";
  if (error) byId("status").textContent = "";
}

const isFree = () => !request && !recording && !live;

function showState() {
  const isBusy = request !== null || live !== null;
  byId("send").disabled = !file || isBusy || recording !== null;
  byId("cancel").hidden = request === null;
  form.elements.file.disabled = byId("record").disabled = isBusy;
  form.elements.file.disabled ||= recording !== null;
  showLiveState();
  byId("record").setAttribute("aria-pressed", recording !== null);
  for (const button of document.querySelectorAll("#samples button")) button.disabled = form.elements.file.disabled;
  if (!recording) byId("record").textContent = "Record";
}

function showLiveState() {
  const language = form.elements.language;
  const unable = "No live text: this model's encoder needs whole recordings.";
  const why = about.streams ? (language.value ? "" : "For live text, select a language.") : unable;
  byId("speak-note").textContent = why;
  byId("speak-note").hidden = !why;
  byId("speak").disabled = Boolean(why) || request !== null || recording !== null;
  byId("speak").setAttribute("aria-pressed", live !== null);
  if (!live) byId("speak").textContent = "Live";
  language.disabled = live !== null;
}

/** Fetch the recording to try in a language, and select the language. */
async function takeSample(code) {
  const response = await fetch(`/samples/${code}.wav`);
  if (!response.ok) throw new Error((await response.json()).error.message);
  if (!isFree()) return; // something was started meanwhile
  form.elements.language.value = code;
  await take(await response.blob(), `sample_${code}.wav`);
  reference = about.samples[code];
}

/** Take a recording, in a form that the server reads. */
async function take(blob, name) {
  forget();
  const ending = name.slice(name.lastIndexOf(".")).toLowerCase();
  try {
    checkSize(blob, name); // before it is decoded here
    const readable = about.endings.includes(ending);
    file = readable ? new File([blob], name) : checkSize(await wavOf(blob, name), name);
    byId("name").textContent = name;
    byId("size").textContent = `${decimal(file.size / 2 ** 20, 2)} MB${readable ? "" : ", sent as WAV"}`;
    player.src = URL.createObjectURL(file);
    byId("chosen").hidden = false;
    byId("status").textContent = "Ready.";
  } catch (error) {
    file = null;
    showError(error);
  }
  showState();
  if (file) byId("send").focus();
}

function checkSize(blob, name) {
  const most = about.limits.max_mb;
  if (blob.size > most * 2 ** 20) throw new Error(`${name}: larger than ${most} MB; send flac or mp3, or split the recording`);
  if (blob.size === 0) throw new Error(`${name}: empty`);
  return blob;
}

function forget() {
  showError(null);
  byId("result").hidden = byId("chosen").hidden = byId("live").hidden = true;
  byId("status").textContent = "";
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  player.hidden = false;
  file = null;
  reference = "";
}

async function recordOrStop() {
  if (recording) return recording.stop();
  forget();
  try {
    recording = await record(about.limits.max_s, (seconds) => {
      byId("record").textContent = `Stop  ${clock(seconds)}`;
    });
    byId("record").textContent = `Stop  ${clock(0)}`;
    byId("status").textContent = "Recording.";
    showState();
    const blob = await recording.done;
    recording = null;
    await take(blob, "recording.webm");
  } catch (error) {
    recording = null;
    showError(error);
    showState();
  }
}

/** Start live text; or end it, and leave the text. */
async function speakOrStop() {
  if (live) return live.stop?.();
  forget();
  live = {}; // until the microphone is open
  byId("speak").textContent = "Starting …";
  showState();
  try {
    const language = form.elements.language.value;
    live = await listen(language, onLiveEvent, (seconds) => {
      byId("speak").textContent = `Stop  ${clock(seconds)}`;
    });
    liveText.clear(language);
    byId("speak").textContent = `Stop  ${clock(0)}`;
    byId("status").textContent = "Listening.";
    await live.done;
    byId("status").textContent = "Done.";
  } catch (error) {
    showError(error);
  }
  live = null;
  showState();
}

function onLiveEvent(event) {
  const failure = liveText.show(event);
  if (failure) showError(new Error(failure));
}

/** POST the recording; an answer that is no transcript becomes an Error with the server's sentence. */
async function transcribe(signal) {
  const body = new FormData();
  body.append("model", about.model);
  body.append("response_format", "verbose_json");
  body.append("language", form.elements.language.value);
  body.append("file", file);
  const response = await fetch("/v1/audio/transcriptions", { method: "POST", body, signal });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

async function send() {
  showError(null);
  byId("result").hidden = true;
  byId("status").textContent = "Transcribing …";
  request = new AbortController();
  showState();
  try {
    drawResult(await transcribe(request.signal), about, playFrom);
    byId("reference").hidden = !reference;
    byId("reference").textContent = `What was said: ${reference}`;
    byId("status").textContent = "Done.";
    byId("result").focus({ preventScroll: true });
  } catch (error) {
    if (error.name === "AbortError") byId("status").textContent = "Cancelled.";
    else showError(error instanceof TypeError ? new Error(NO_SERVER) : error);
  }
  request = null;
  showState();
}

function playFrom(start) {
  player.currentTime = start;
  player.play().catch((error) => showError(new Error(`the audio cannot be played: ${error.message}`)));
}

async function copy(text) {
  await navigator.clipboard.writeText(text);
  byId("status").textContent = "Copied.";
}

function startDropping() {
  const over = (event) => {
    event.preventDefault(); // else the browser would open the file instead of this page
    drop.classList.toggle("over", event.type === "dragover" && isFree());
  };
  for (const type of ["dragover", "dragleave"]) document.addEventListener(type, over);
  document.addEventListener("drop", (event) => {
    over(event);
    const [dropped] = event.dataTransfer.files;
    if (dropped && isFree()) take(dropped, dropped.name);
  });
}

function start() {
  startTheme(byId("theme"));
  byId("model").textContent = about.model;
  byId("limits").textContent =
    `It knows ${about.languages.length} languages. At most ${about.limits.max_s} s and ${about.limits.max_mb} MB; ` +
    `what is longer than ${decimal(about.longest_s)} s is cut at pauses.`;
  const names = Object.fromEntries(about.languages.map(({ code, name }) => [code, name]));
  byId("samples").hidden = Object.keys(about.samples).length === 0;
  for (const code of Object.keys(about.samples)) {
    const button = element("button", { type: "button" }, names[code]);
    button.addEventListener("click", () => takeSample(code).catch(showError));
    byId("samples").append(button);
  }
  for (const { code, name } of about.languages) {
    form.elements.language.append(element("option", { value: code }, `${name} (${code})`));
  }
  form.elements.file.addEventListener("change", ({ target }) => {
    if (target.files.length) take(target.files[0], target.files[0].name);
    target.value = ""; // the same file can be chosen again
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("record").addEventListener("click", recordOrStop);
  byId("cancel").addEventListener("click", () => request?.abort());
  byId("copy").addEventListener("click", () => copy(byId("text").textContent));
  byId("speak").addEventListener("click", speakOrStop);
  byId("copy-live").addEventListener("click", () => copy(liveText.text));
  form.elements.language.addEventListener("change", showState);
  player.addEventListener("error", () => {
    player.hidden = Boolean(player.getAttribute("src")); // the server may read what the browser does not play
  });
  startDropping();
  showState();
}

start();
