"use strict";
// The microphone: record in the format of the browser, or read samples while somebody speaks.

const REFUSALS = {
  NotAllowedError: "the browser was not allowed to use the microphone",
  NotFoundError: "no microphone was found",
  NotReadableError: "the microphone is in use by another program",
};

const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }; // as in training data
const NO_SERVER = "the server does not respond; is it still running?";
const HIGHEST_RATE = 48000; // Hz, that the server takes

/** The microphone as a MediaStream. Throws an Error with a readable message. */
async function openMicrophone() {
  if (!navigator.mediaDevices) throw new Error("this browser only records on localhost or over https");
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
  } catch (error) {
    throw new Error(`${REFUSALS[error.name] ?? error.message}; choose a file instead`);
  }
}

/** Starts to record. Returns {stop, done}: done is a promise of the Blob. Throws an Error with a readable message. */
async function record(longestS, onSecond) {
  const stream = await openMicrophone();
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

/** Opens the microphone. Returns {rateHz, start, stop, close}: start(onBlock) calls onBlock with 16-bit samples, 0.1 s
 *  at a time; stop() calls it with the rest and closes the microphone; close() closes it at once. Throws an Error with
 *  a readable message. */
async function samplesOfMicrophone() {
  const stream = await openMicrophone();
  const release = () => stream.getTracks().forEach((track) => track.stop());
  let context, source, capture, closed;
  const close = () => {
    release();
    closed ??= context?.close();
    return closed;
  };
  try {
    context = audioContext();
    source = context.createMediaStreamSource(stream);
    await Promise.all([context.audioWorklet.addModule("/assets/capture.js"), context.resume()]);
    capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  } catch (error) {
    await close();
    throw error.name === "AbortError" ? new Error(NO_SERVER) : error; // the file was not loaded
  }
  capture.port.start();
  const start = (onBlock) => {
    capture.port.onmessage = ({ data }) => data && onBlock(data);
    source.connect(capture);
  };
  const stop = async () => {
    release();
    const rest = new Promise((resolve) => capture.port.addEventListener("message", ({ data }) => data ?? resolve()));
    capture.port.postMessage("stop");
    await rest;
    await close();
  };
  return { rateHz: context.sampleRate, start, stop, close };
}

/** An AudioContext at the rate of the device, or at the highest rate that the server takes. */
function audioContext() {
  const context = new AudioContext();
  if (context.sampleRate <= HIGHEST_RATE) return context;
  context.close();
  return new AudioContext({ sampleRate: HIGHEST_RATE });
}
