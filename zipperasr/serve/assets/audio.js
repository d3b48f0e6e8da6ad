"use strict";
// Decode in the browser what the server cannot read (webm from the microphone, m4a, video); pack it as WAV.

const RATE_HZ = 16000;

/** A recording as a WAV file of 16 kHz, mono, 16 bits. Throws an Error with a sentence for the reader. */
async function wavOf(blob, name) {
  const context = new OfflineAudioContext(1, 1, RATE_HZ); // what it decodes comes at its own rate
  let decoded;
  try {
    decoded = await context.decodeAudioData(await blob.arrayBuffer());
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    throw new Error(`${name}: neither the server nor this browser can decode it`);
  }
  return new File([wavBytes(mono(decoded))], name.replace(/(\.[^.]*)?$/, ".wav"), { type: "audio/wav" });
}

/** Channels averaged, as the server does it. */
function mono(decoded) {
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, number) => decoded.getChannelData(number));
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, at) => channels.reduce((sum, samples) => sum + samples[at], 0) / channels.length);
}

/** RIFF header and 16-bit samples; what overshoots is clipped. */
function wavBytes(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, RATE_HZ, true);
  view.setUint32(28, 2 * RATE_HZ, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, at) => {
    view.setInt16(44 + 2 * at, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
  });
  return view.buffer;
}
