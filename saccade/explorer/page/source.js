// Where the page reads recordings from: the process that serves it.

import { byteFloats, Cache, halfFloats } from "./numbers.js";

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Error("The explorer does not answer: was `saccade look` ended?");
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try { message = JSON.parse(text).error ?? text; } catch { /* plain text */ }
  throw new Error(message || `error ${response.status}`);
}

export class Server {
  constructor() {
    this.canChange = this.canUpload = true;
    this.rows = new Cache(3000);
    this.texts = new Cache(300);
  }

  async state() {
    return (await answer(fetch("api/state"))).json();
  }

  address({ model, image, change }, path = "", query = null) {
    const parameters = [change, query === null ? "" : `query=${query}`].filter(Boolean).join("&");
    return `api/models/${model}/images/${encodeURIComponent(image)}${path}${parameters ? `?${parameters}` : ""}`;
  }

  async recording(run) {
    return (await answer(fetch(this.address(run)))).json();
  }

  shown(run) { return this.address(run, "/shown"); }
  drawn(run) { return this.address(run, "/drawn"); }
  thumbnail(image) { return `api/images/${encodeURIComponent(image)}/thumbnail`; }

  /** What is at an address, once; JSON where there is no `decode`. */
  read(address, decode) {
    return this.rows.get(address, async () => {
      const response = await answer(fetch(address));
      return decode ? decode(await response.arrayBuffer()) : response.json();
    });
  }

  /** Rows of all heads of one layer: Float32Array [heads * keys]. */
  layer(run, stream, layer, query) {
    return this.read(this.address(run, `/${stream.name}/layers/${layer}`, query), halfFloats);
  }

  /** Rows of all heads of all layers: Float32Array [rows * keys]. */
  grid(run, stream, query) {
    const rows = stream.layers.reduce((sum, layer) => sum + layer.heads, 0);
    return this.read(this.address(run, `/${stream.name}/grid`, query), (buffer) => byteFloats(buffer, rows));
  }

  /** Whole matrices of all heads of one layer among tokens: Float32Array [heads * queries * keys]. */
  whole(run, stream, layer) {
    return this.read(this.address(run, `/${stream.name}/layers/${layer}/matrix`), halfFloats);
  }

  /** The sampled values of a prediction for every pixel: Float32Array. */
  values(run) {
    return this.read(this.address(run, "/values"), (buffer) => new Float32Array(buffer));
  }

  /** The key of a text, which the process keeps. */
  async textKey(text) {
    return this.texts.get(text, async () => (await (await answer(fetch("api/texts", { method: "POST", body: text }))).json()).key);
  }

  /** What in an image and in a label speaks for their similarity: { cosine, patches, tokens, tokenValues }. */
  pair(run, label) {
    const address = this.address(run, "/pair");
    return this.texts.get(`${address} ${label}`, async () => (await answer(fetch(`${address}${address.includes("?") ? "&" : "?"}label=${encodeURIComponent(label)}`))).json());
  }

  rollout(run, stream, query) {
    return this.read(this.address(run, `/${stream.name}/rollout`, query), halfFloats);
  }

  /** The relevance of every patch for a class: Float32Array [patches]. */
  relevance(run, label) {
    const address = this.address(run, "/relevance");
    return this.read(`${address}${address.includes("?") ? "&" : "?"}label=${encodeURIComponent(label)}`, (buffer) => new Float32Array(buffer));
  }

  /** Probabilities of typed labels: { top }. */
  async labels(run, text) {
    const address = this.address(run, "/labels");
    return (await answer(fetch(`${address}${address.includes("?") ? "&" : "?"}labels=${encodeURIComponent(text)}`))).json();
  }

  /** A tab of a model, as JSON. */
  about(model, what) {
    return this.read(`api/models/${model.key}/about/${what}`, null);
  }

  distance(run) { return this.read(this.address(run, "/distance"), null); }

  /** The faithfulness of the map on show. */
  score(run, { show, layer, head, query, label }) {
    const address = this.address(run, "/score", query), values = new URLSearchParams({ show, layer, head, label: show === "relevance" ? label : "" });
    return this.read(`${address}&${values}`, null);
  }

  async measurements() { return (await answer(fetch("api/measurements"))).json(); }
  async stopMeasuring() { await answer(fetch("api/measurements", { method: "DELETE" })); }

  async measure(model, kind, images, limit) {
    await answer(fetch(`api/measurements?${new URLSearchParams({ model: model.key, kind, images, limit })}`, { method: "POST" }));
  }

  async upload(file) {
    const headers = { "X-Name": encodeURIComponent(file.name || "pasted image") };
    return (await answer(fetch("api/images", { method: "POST", body: file, headers }))).json();
  }
}
