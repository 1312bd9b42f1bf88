// The text that a model of texts reads: typed, or one of those that were opened with it.

import { $, element } from "./controls.js";
import { state } from "./state.js";

/** The key of what the model on show reads: of the image of the state, or of its text. Null where there is none. */
export async function inputOf(source, model, inputs) {
  const texts = model.readsTexts ? inputs.filter(({ kind }) => kind === "text") : [];
  document.body.dataset.input = model.readsTexts ? "text" : "image";
  $("text-form").hidden = !model.readsTexts;
  if (!model.readsTexts) return state.image || null;
  if (!state.text && texts.length) state.text = texts[0].name;
  if (document.activeElement !== $("text")) $("text").value = state.text;
  $("text").readOnly = $("run-text").hidden = !source.canChange;
  $("texts").replaceChildren(...texts.map(({ name }) => element("button", { type: "button", title: name, "aria-pressed": String(name === state.text), "data-text": name }, name)));
  $("texts").hidden = texts.length < 2;
  return state.text.trim() ? source.textKey(state.text) : null;
}

/** @param open called when another text is chosen */
export function acceptTexts(open) {
  const choose = (text) => { state.text = text; open(); };
  $("text-form").addEventListener("submit", (event) => { event.preventDefault(); choose($("text").value); });
  $("texts").addEventListener("click", ({ target }) => {
    const text = target.closest("[data-text]")?.dataset.text;
    if (text === undefined) return;
    $("text").value = text;
    choose(text);
  });
}

/** The prediction of a model of texts: a text, or the most probable tokens at every mask. */
export function textResult(result) {
  if (!result.masks) return [element("p", { class: "generated" }, result.text || "(an empty text)")];
  if (!result.masks.length) return [element("p", { class: "note" }, "Nothing is masked. Choose “mask tokens” below and click a token, or write [MASK] into the text.")];
  return result.masks.map(({ position, tokens }) => element("section", { class: "fill", "data-position": position },
    element("h3", {}, `Token ${position + 1}`),
    element("ul", { class: "classes" }, ...tokens.map(([token, score]) => fillRow(token, score)))));
}

function fillRow(token, score) {
  const bar = element("div", { class: "bar before" });
  bar.style.width = `${100 * score}%`;
  return element("li", {}, element("span", { class: "name", title: token }, token), element("span", { class: "value" }, `${(100 * score).toFixed(1)}\u00a0%`),
    element("div", { class: "bars", "aria-hidden": "true" }, bar));
}
