// An image and a text together: the label that is chosen, what speaks for the pair, and the attention within the text.

import { $, element, notice } from "./controls.js";
import { changeQuery, state, typedLabels } from "./state.js";
import { valuedTokens } from "./tokens.js";
import { currentModel, view } from "./view.js";

/** The relevance of every patch for the class or the label of the state: Float32Array [patches]. */
export async function relevanceOf(run, label) {
  if (!currentModel().readsLabels) return view.source.relevance(run, label);
  const pair = await view.source.pair(run, label);
  showPair(pair, label);
  return Float32Array.from(pair.patches);
}

function showPair({ cosine, tokens, tokenValues }, label) {
  $("label-pair").replaceChildren(element("h3", {}, "Relevance of the text"), valuedTokens(tokens, tokenValues, `Relevance of the tokens for ${label}`),
    element("p", { class: "note" }, `Cosine ${cosine.toFixed(3)}. The marked tokens, and the marked patches of the image, raise it: attention of each encoder weighted by the gradient of the cosine. “Text tokens” under Layers and heads shows the attention within the text.`));
}

/** Add the attention within the chosen label to the streams on show; take that of another label away. */
export async function addTextStreams() {
  const { recording, source } = view;
  recording.streams = recording.streams.filter((stream) => !stream.run);
  const label = currentModel().readsLabels && typedLabels().includes(state.label) && source.pair ? state.label : "";
  $("label-pair").hidden = !label || state.show !== "relevance";
  if (!label) return;
  const change = new URLSearchParams(changeQuery());
  for (const name of ["hide", "fill"]) change.delete(name); // of patches
  try {
    const run = { model: state.model, image: await source.textKey(label), change: change.toString() };
    const read = await source.recording(run);
    if (view.recording === recording && state.label === label) recording.streams.push(...read.streams.map((stream) => ({ ...stream, run, size: [1, 1] })));
  } catch (error) {
    notice(error.message);
  }
}
