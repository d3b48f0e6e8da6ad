"use strict";
// Record from the microphone, in the format of the browser.

const REFUSALS = {
  NotAllowedError: "the browser was not allowed to use the microphone",
  NotFoundError: "no microphone was found",
  NotReadableError: "the microphone is in use by another program",
};

/** Starts to record. Returns {stop, done}: done is a promise of the Blob. Throws an Error with a sentence. */
async function record(longestS, onSecond) {
  if (!navigator.mediaDevices) throw new Error("this browser only records on localhost or over https");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    throw new Error(`${REFUSALS[error.name] ?? error.message}; choose a file instead`);
  }
  const recorder = new MediaRecorder(stream, { audioBitsPerSecond: 128000 });
  const start = performance.now();
  const stop = () => recorder.state !== "inactive" && recorder.stop();
  const timer = setInterval(() => {
    const seconds = (performance.now() - start) / 1000;
    onSecond(seconds);
    if (seconds >= longestS - 1) stop(); // it ends within the server's bound
  }, 200);
  const parts = [];
  const done = new Promise((resolve) => {
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      clearInterval(timer);
      stream.getTracks().forEach((track) => track.stop());
      resolve(new Blob(parts, { type: recorder.mimeType }));
    });
  });
  recorder.start();
  return { stop, done };
}
