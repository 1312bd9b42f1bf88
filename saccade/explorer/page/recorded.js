// Where the page of a file reads recordings from: the file itself.

import { byteFloats, Cache } from "./numbers.js";

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

/** What a file has, or the reason why it has nothing. */
function readable(values) {
  if (!values || values.error) throw new Error(values?.error ?? "This file has no such view.");
  return values;
}

export class Recorded {
  /** @param data models, images and recordings as the export writes them */
  constructor(data) {
    this.data = data;
    this.canChange = this.canUpload = false;
    this.matrices = new Cache(400);
  }

  async state() {
    const { models, images, version } = this.data;
    return { models, images, version, canChange: false };
  }

  of({ model, image }) {
    const recording = this.data.recordings[`${model}/${image}`];
    if (!recording) throw new Error("This file has no such recording.");
    return recording;
  }

  async recording(run) { return structuredClone(this.of(run)); }
  shown(run) { return this.of(run).shown; }
  drawn(run) { return this.of(run).drawnImage; }
  thumbnail(key) { return this.data.images.find((image) => image.key === key).thumbnail; }

  async about(model, what) { return readable(model.about?.[what]); }
  async distance(run) { return readable(this.of(run).distance); }

  /** One matrix [rows * keys] of a stream: a layer's weights, or the rollout. */
  matrix(run, stream, layer, rows) {
    const { weights, rollout } = this.of(run).streams.find(({ name }) => name === stream.name);
    const text = layer === "rollout" ? rollout : weights[layer];
    return this.matrices.get(`${run.model}/${run.image}/${stream.name}/${layer}`, async () => byteFloats(await unpack(text), rows));
  }

  whole(run, stream, layer) { return this.matrix(run, stream, layer, stream.layers[layer].heads * stream.queries); }

  values(run) { return this.matrices.get(`${run.model}/${run.image} values`, async () => new Float32Array(await unpack(this.of(run).values))); }

  async textKey(text) {
    const input = this.data.images.find(({ kind, name }) => kind === "text" && name === text);
    if (!input) throw new Error("This file has no such text.");
    return input.key;
  }

  /** Labels of an image: those that were recorded. */
  async labels(run) { return this.data.pairs[`${run.model}/${run.image}`]; }

  async pair(run, label) { return (await this.labels(run)).pairs[label]; }

  /** The labels that were recorded with an image, separated by commas. */
  recordedLabels(run) { return (this.data.pairs[`${run.model}/${run.image}`]?.top ?? []).map(({ label }) => label).join(", "); }

  /** The rows of one query for every head: [heads * keys]. */
  async rowsOf(run, stream, layer, heads, query) {
    const matrix = await this.matrix(run, stream, layer, heads * stream.queries);
    const keys = matrix.length / (heads * stream.queries), out = new Float32Array(heads * keys);
    const first = query === "mean" ? (stream.overGrid ? stream.prefix.length : 0) : query;
    const last = query === "mean" ? stream.queries - 1 : query;
    for (let head = 0; head < heads; head++) {
      for (let row = first; row <= last; row++) {
        const start = (head * stream.queries + row) * keys;
        for (let i = 0; i < keys; i++) out[head * keys + i] += matrix[start + i] / (last - first + 1);
      }
    }
    return out;
  }

  layer(run, stream, layer, query) { return this.rowsOf(run, stream, layer, stream.layers[layer].heads, query); }
  rollout(run, stream, query) { return this.rowsOf(run, stream, "rollout", 1, query); }

  async grid(run, stream, query) {
    const parts = await Promise.all(stream.layers.map((_, layer) => this.layer(run, stream, layer, query)));
    const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
    parts.reduce((start, part) => { out.set(part, start); return start + part.length; }, 0);
    return out;
  }
}
