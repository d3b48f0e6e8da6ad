"use strict";
// Live text: the microphone's samples go to the server's WebSocket, its events come back.

const MOST_BEHIND_S = 30; // audio that waits here; the server holds as much again
const STOP = "stop"; // id of the events that end a stream
const [DELTA, COMPLETED, FAILED] = ["delta", "completed", "failed"].map(
  (kind) => `conversation.item.input_audio_transcription.${kind}`,
);

/** Starts to listen. onEvent: called with the server's events; onSecond: with the seconds heard so far.
 *  Returns {stop, done}: stop() ends the stream, and at once if called again; done is a promise that is fulfilled when
 *  the last text has come. It, and this function, throw an Error with a readable message. */
async function listen(language, onEvent, onSecond) {
  const microphone = await samplesOfMicrophone();
  let socket;
  try {
    socket = await opened(language);
  } catch (error) {
    await microphone.close();
    throw error;
  }
  const send = (event) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(event));
  const commit = () => send({ type: "input_audio_buffer.commit", event_id: STOP });
  const bytesPerS = 2 * microphone.rateHz;
  let heard = 0; // bytes
  let isStopping = false;
  let leave = null; // called when this page closes the socket early
  const left = new Promise((resolve, reject) => {
    leave = (error) => (error ? reject(error) : resolve());
  });
  const done = Promise.race([ended(socket, onEvent, commit), left]).finally(() => {
    socket.close(1000);
    return microphone.close();
  });
  const stop = async () => {
    if (isStopping) return leave();
    isStopping = true;
    await microphone.stop();
    commit();
  };
  const format = { type: "audio/pcm", rate: microphone.rateHz };
  send({ type: "session.update", session: { type: "transcription", audio: { input: { format } } } });
  microphone.start((samples) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(samples);
    heard += samples.byteLength;
    onSecond(heard / bytesPerS);
    const isBehind = socket.bufferedAmount > MOST_BEHIND_S * bytesPerS;
    if (isBehind) leave(new Error("the server or the connection is too slow for live text; the text so far is kept"));
  });
  return { stop, done };
}

/** A socket on which the server has begun a session. */
function opened(language) {
  const address = new URL("/v1/realtime", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.search = new URLSearchParams({ intent: "transcription", language });
  const socket = new WebSocket(address);
  return new Promise((resolve, reject) => {
    const fail = (text) => reject(new Error(text));
    socket.onmessage = ({ data }) => {
      const { type, error } = JSON.parse(data);
      if (type === "error") fail(error.message);
      else resolve(socket);
    };
    socket.onclose = () => fail(NO_SERVER);
  });
}

/** A promise that is fulfilled when a commit of `stop` finds nothing open any more. */
function ended(socket, onEvent, commit) {
  let told = null; // the server's last error
  return new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.type === "error" && event.error.event_id === STOP) return resolve();
      if (event.type === "error") told = event.error.message;
      if (event.type === "input_audio_buffer.committed" && event.zipperasr.client_event_id === STOP) commit();
      onEvent(event);
    };
    socket.onclose = ({ wasClean }) => {
      const why = wasClean ? "the server has ended the stream" : "the connection to the server was lost";
      reject(new Error(`${told ?? why}; the text so far is kept`)); // has no effect after `resolve`
    };
  });
}

/** The text while it grows: what is certain, what may change, and finished segments with their times. */
class LiveText {
  #finished = byId("live-text");
  #open = byId("live-open");
  #startS = 0;

  clear(language) {
    this.#finished.replaceChildren();
    this.#open.replaceChildren();
    this.#finished.lang = this.#open.lang = language;
    byId("live").hidden = false;
  }

  get text() {
    return [...document.querySelectorAll("#live bdi")].map((one) => one.textContent).join("\n");
  }

  /** Show an event of the server. Returns the server's sentence if it says that a segment has failed. */
  show(event) {
    if (event.type === "input_audio_buffer.speech_started") this.#startS = event.audio_start_ms / 1000;
    if (event.type === DELTA) this.#draw(event.zipperasr);
    if (event.type === COMPLETED) this.#finish(event);
    if (event.type === FAILED) this.#open.replaceChildren();
    return event.type === FAILED ? event.error.message : null;
  }

  #draw({ text, stable }) {
    const rest = element("span", { className: "unstable" }, text.slice(stable.length));
    this.#open.replaceChildren(this.#time(this.#startS), element("bdi", {}, stable, rest));
  }

  #finish({ transcript, zipperasr: { start_s: start, doubts } }) {
    this.#open.replaceChildren();
    if (!transcript) return;
    const text = doubts.length ? element("mark", { title: `doubtful: ${doubts.join("; ")}` }, transcript) : transcript;
    const isLow = innerHeight + scrollY >= document.body.scrollHeight - 80; // the reader follows the end of the text
    this.#finished.append(element("p", {}, this.#time(start), element("bdi", {}, text)));
    if (isLow) scrollTo({ top: document.body.scrollHeight });
  }

  #time(seconds) {
    return element("time", { className: "note", lang: "en" }, clock(seconds));
  }
}
