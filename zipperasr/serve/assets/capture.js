"use strict";
// In the audio thread: what the microphone hears, as blocks of 16-bit samples.

const BLOCK_S = 0.1;

class Capture extends AudioWorkletProcessor {
  #block = new Int16Array(Math.round(BLOCK_S * sampleRate));
  #filled = 0;
  #isOver = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#isOver = true;
      this.#send();
      this.port.postMessage(null); // the end
    };
  }

  process([channels]) {
    if (this.#isOver) return false;
    for (let at = 0; at < (channels[0]?.length ?? 0); at += 1) {
      const mean = channels.reduce((sum, samples) => sum + samples[at], 0) / channels.length;
      this.#block[this.#filled++] = Math.max(-32768, Math.min(32767, Math.round(mean * 32768)));
      if (this.#filled === this.#block.length) this.#send();
    }
    return true;
  }

  #send() {
    const samples = this.#block.slice(0, this.#filled); // little-endian, as every machine with a browser
    this.#filled = 0;
    if (samples.length) this.port.postMessage(samples.buffer, [samples.buffer]);
  }
}

registerProcessor("capture", Capture);
