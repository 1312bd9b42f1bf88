// Numbers from bytes, numbers for people, and requests of which only the newest counts.

const HALF = new Float32Array(65536);
for (let bits = 0; bits < 65536; bits++) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  HALF[bits] = sign * (exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction ? NaN : Infinity)
    : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Little-endian float16 -> Float32Array. */
export function halfFloats(buffer) {
  return Float32Array.from(new Uint16Array(buffer), (bits) => HALF[bits]);
}

/** Rows of a byte a weight behind their float32 scales -> Float32Array [rows * length]. */
export function byteFloats(buffer, rows) {
  const scales = new Float32Array(buffer, 0, rows), bytes = new Uint8Array(buffer, 4 * rows);
  const length = bytes.length / rows, values = new Float32Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    for (let i = row * length; i < (row + 1) * length; i++) values[i] = bytes[i] * scales[row];
  }
  return values;
}

export function percent(value) {
  const shown = 100 * value;
  if (shown !== 0 && Math.abs(shown) < 0.1) return `${shown.toPrecision(1)}\u00a0%`;
  return `${shown.toFixed(Math.abs(shown) < 10 ? 1 : 0)}\u00a0%`;
}

/** A difference of probabilities in percentage points, with its sign. */
export function points(value) {
  const shown = (100 * Math.abs(value)).toFixed(1);
  return shown === "0.0" ? "±0" : `${value < 0 ? "−" : "+"}${shown}`;
}

export function byteSize(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (bytes >= 1000 && unit < 3) { bytes /= 1000; unit++; }
  return `${unit ? bytes.toPrecision(3) : bytes} ${units[unit]}`;
}

/** The sum of values[from…]. */
export function total(values, from = 0) {
  let sum = 0;
  for (let i = from; i < values.length; i++) sum += values[i];
  return sum;
}

export function largest(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/** Calls of an async function, one at a time; while one runs, only the newest of the others waits. */
export function newest(call) {
  let running = false, waiting = null;
  return async function run(...values) {
    if (running) { waiting = values; return; }
    running = true;
    try {
      await call(...values);
    } finally {
      running = false;
      if (waiting) { const next = waiting; waiting = null; run(...next); }
    }
  };
}

/** Results of an async function by key, the last `limit` of them. */
export class Cache {
  constructor(limit) { this.limit = limit; this.items = new Map(); }
  get(key, make) {
    if (!this.items.has(key)) {
      const item = make();
      this.items.set(key, item);
      item.catch(() => this.items.delete(key));
      if (this.items.size > this.limit) this.items.delete(this.items.keys().next().value);
    }
    return this.items.get(key);
  }
}
