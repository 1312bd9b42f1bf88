// What the page has open: where recordings come from, models and images, and the recorded run on show.

import { placeOf } from "./stage.js";
import { state } from "./state.js";

/**
 * source: where recordings come from; original: the recording of the model as it is; recording: the one on show, and run its
 * address; hovered: the token under the pointer or null; beside: the second pane.
 */
export const view = { source: null, models: [], images: [], original: null, recording: null, run: null, hovered: null, beside: null };

export const currentModel = () => view.models.find(({ key }) => key === state.model);
export const stream = () => view.recording?.streams.find(({ name }) => name === state.stream) ?? firstStream();
export const stages = () => view.recording?.result?.stages ?? [];
export const boxes = () => stages()[state.stage - 1] ?? view.recording?.result?.boxes ?? [];
export const defaultQuery = () => (stream()?.overGrid ? view.recording.query : boxes()[0]?.query ?? 0);
export const query = () => view.hovered ?? state.query ?? defaultQuery();
export const hasRelevance = () => Boolean(view.source.relevance && view.original?.result?.top && !currentModel().readsLabels);
export const isWhole = () => ["rollout", "relevance"].includes(state.show); // of all layers together

/** The stream that the model's task puts in front; patches where a detector has no boxes. */
function firstStream() {
  const streams = view.recording?.streams ?? [], empty = view.recording?.result?.boxes && !boxes().length;
  return (empty ? streams.find(({ overGrid }) => overGrid) : null) ?? streams[0] ?? null;
}

/** Bring layer, head and query into the ranges of this model. */
export function clampState() {
  const { layers, overGrid, queries } = stream(), { result } = view.original;
  if (!Number.isInteger(state.layer) || state.layer < 0 || state.layer >= layers.length) state.layer = layers.length - 1;
  const { heads } = layers[state.layer];
  if (!Number.isInteger(state.head) || state.head < 0 || state.head >= heads) state.head = 0;
  if (!Number.isInteger(state.stage) || state.stage < 0 || state.stage > stages().length) state.stage = 0;
  const known = state.query === null || (Number.isInteger(state.query) && state.query < queries) || (state.query === "mean" && overGrid);
  if (!known || state.query === defaultQuery()) state.query = null;
  if (state.show === "rollout" && !overGrid) state.show = "head";
  if (state.show === "relevance" && !(hasRelevance() && overGrid)) state.show = "head";
  if (state.show === "relevance" && !result.top.some(({ label }) => label === state.label)) state.label = result.top[0].label;
}

/** What is on show, in words. */
export function showTitle() {
  if (state.show === "rollout") return "Rollout of all layers";
  if (state.show === "relevance") return `Relevance for ${state.label}`;
  const { layers } = stream(), { heads } = layers[state.layer];
  return `Layer ${state.layer + 1} of ${layers.length}, ${state.show === "head" ? `head ${state.head + 1} of ${heads}` : `${state.show} of ${heads} heads`}`;
}

/** The patch so many rows and columns from the query: a token, or null where queries are no patches. */
export function patchBeside(rows, columns) {
  const current = stream();
  if (!current?.overGrid) return null;
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
