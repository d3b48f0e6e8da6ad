// Data blocks: gzipped JSON lines in base64, unpacked on demand without blocking the page.

const KEPT_BLOCKS = 6; // kept unpacked at the same time
const unpacked = new Map(); // id -> promise of rows, the most recently used last

/** Rows of a block; onProgress is called with the number of rows so far. */
function loadBlock(id, onProgress) {
  const known = unpacked.get(id) ?? unpack(id, onProgress);
  unpacked.delete(id);
  unpacked.set(id, known);
  if (unpacked.size > KEPT_BLOCKS) unpacked.delete(unpacked.keys().next().value);
  return known;
}

async function unpack(id, onProgress) {
  const packed = new Blob([fromBase64(byId(id).textContent)]).stream();
  const reader = packed
    .pipeThrough(new DecompressionStream("gzip"))
    .pipeThrough(new TextDecoderStream())
    .getReader();
  const rows = [];
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return rows;
    const end = value.lastIndexOf("\n");
    if (end < 0) {
      rest += value;
      continue;
    }
    const lines = (rest + value.slice(0, end)).replaceAll("\n", ",");
    for (const row of JSON.parse(`[${lines}]`)) rows.push(row);
    rest = value.slice(end + 1);
    onProgress(rows.length);
  }
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  return bytes;
}
