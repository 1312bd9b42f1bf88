// What the page has open: where recordings come from, models and images, and the recorded run on show.

import { placeOf } from "./stage.js";
import { state, typedLabels } from "./state.js";

/**
 * source: where recordings come from; data: name of the data set to measure on, or ""; input: key of what the model reads; original: the recording of the model as it is; recording: the one on show, and run its
 * address; hovered: the token under the pointer or null; beside: the second pane.
 */
export const view = { source: null, models: [], images: [], data: "", input: null, original: null, recording: null, run: null, hovered: null, beside: null };

export const currentModel = () => view.models.find(({ key }) => key === state.model);
export const stream = () => view.recording?.streams.find(({ name }) => name === state.stream) ?? firstStream();
export const stages = () => view.recording?.result?.stages ?? [];
export const boxes = () => stages()[state.stage - 1] ?? view.recording?.result?.boxes ?? [];
export const defaultQuery = () => (stream()?.overGrid ? view.recording.query : hasBoxes() ? boxes()[0]?.query ?? 0 : stream()?.first ?? 0);
export const hasBoxes = () => Boolean(view.recording?.result?.boxes); // which stand for queries
/** The run that a stream belongs to: the one on show, or that of the label beside it. */
export const runOf = (current) => current?.run ?? view.run;
export const query = () => view.hovered ?? state.query ?? defaultQuery();
export const hasRelevance = () => (currentModel().readsLabels ? Boolean(view.source.pair && typedLabels().length) : Boolean(view.source.relevance && view.original?.result?.top));
const relevanceLabels = () => (currentModel().readsLabels ? typedLabels() : view.original.result.top.map(({ label }) => label));
export const isWhole = () => ["rollout", "relevance"].includes(state.show); // of all layers together

/** A stream whose keys lie over the image: the one on show if its do. Null of a text. */
export const imageStream = () => (stream()?.overImage ? stream() : view.recording?.streams.find(({ overImage }) => overImage) ?? null);

/** The stream that the model's task puts in front; patches where a detector has no boxes. */
function firstStream() {
  const streams = view.recording?.streams ?? [], empty = view.recording?.result?.boxes && !boxes().length;
  return (empty ? streams.find(({ overGrid }) => overGrid) : null) ?? streams[0] ?? null;
}

/** Bring layer, head and query into the ranges of this model. */
export function clampState() {
  const { layers, overGrid, isSelf, queries } = stream();
  if (!Number.isInteger(state.layer) || state.layer < 0 || state.layer >= layers.length) state.layer = layers.length - 1;
  const { heads } = layers[state.layer];
  if (!Number.isInteger(state.head) || state.head < 0 || state.head >= heads) state.head = 0;
  if (!Number.isInteger(state.stage) || state.stage < 0 || state.stage > stages().length) state.stage = 0;
  const known = state.query === null || (Number.isInteger(state.query) && state.query < queries) || (state.query === "mean" && isSelf);
  if (!known || state.query === defaultQuery()) state.query = null;
  if (state.show === "rollout" && !isSelf) state.show = "head";
  if (state.show === "relevance" && !(hasRelevance() && overGrid)) state.show = "head";
  if (state.show === "relevance" && !relevanceLabels().includes(state.label)) state.label = relevanceLabels()[0];
}

/** What is on show, in words. */
export function showTitle() {
  if (state.show === "rollout") return "Rollout of all layers";
  if (state.show === "relevance") return `Relevance for ${state.label}`;
  const { layers } = stream(), { heads } = layers[state.layer];
  return `Layer ${state.layer + 1} of ${layers.length}, ${state.show === "head" ? `head ${state.head + 1} of ${heads}` : `${state.show} of ${heads} heads`}`;
}

/** The token so many rows and columns from the query: a patch, or of a text the one so many further on; null where boxes stand for queries. */
export function patchBeside(rows, columns) {
  const current = stream();
  if (!current || hasBoxes() && !current.overGrid) return null;
  if (!current.overGrid) return Math.min(Math.max((query() === "mean" ? 0 : query()) + rows + columns, 0), current.queries - 1);
  const [row, column] = placeOf(current, query()) ?? [0, 0], [height, width] = current.grid;
  const next = [Math.min(Math.max(row + rows, 0), height - 1), Math.min(Math.max(column + columns, 0), width - 1)];
  return current.prefix.length + next[0] * width + next[1];
}

/** The layer and head so many further on. */
export function headBeside(layers, heads) {
  const all = stream().layers, layer = Math.min(Math.max(state.layer + layers, 0), all.length - 1);
  return { layer, head: Math.min(Math.max(state.head + heads, 0), all[layer].heads - 1) };
}

/** A list with an item if it was without, and without if it was with. */
export const toggled = (list, item) => (list.includes(item) ? list.filter((other) => other !== item) : [...list, item]);
