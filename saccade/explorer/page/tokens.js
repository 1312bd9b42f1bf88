// The tokens of a text, one strip for the queries and one for the keys, painted by the row on show.

import { changeTool } from "./change.js";
import { $, element } from "./controls.js";
import { largest, percent } from "./numbers.js";
import { state } from "./state.js";

let builtStrips = "", strips = [];

/** What a token looks like in a strip: its own text, with a mark for spaces alone. */
const shownText = (text) => (text.trim() === "" ? "␣" : text);

/**
 * Build the strips of a stream where they are new.
 * @param boxes whether boxes stand for the queries of the stream
 * @param hideable whether tokens that the model reads can be hidden or masked
 * @param on hover(token or null), choose(token), hide(token)
 */
export function buildStrips(stream, { boxes, hideable }, on) {
  const { queryAxis, keyAxis, isSelf } = stream;
  const axes = [];
  if (!boxes && queryAxis.tokens) axes.push({ ...queryAxis, isQuery: true, isKey: isSelf });
  if (!boxes && keyAxis.tokens && !isSelf) axes.push({ ...keyAxis, isQuery: false, isKey: true });
  const key = JSON.stringify([stream.name, axes, hideable]);
  if (key === builtStrips) return;
  builtStrips = key;
  strips = axes.map((axis) => buildStrip(axis, hideable && axis.kind === "input", on));
  $("strips").replaceChildren(...strips.map(({ part }) => part));
}

function buildStrip(axis, hideable, on) {
  const tokens = axis.tokens.map((text, token) => {
    if (!axis.isQuery && !hideable) return element("span", { class: "token", "data-token": token }, shownText(text));
    const hover = axis.isQuery ? { onpointerenter: (event) => { if (event.pointerType !== "touch") on.hover(token); }, onpointerleave: () => on.hover(null) } : {};
    const press = () => { if (hideable && changeTool() === "hide") on.hide(token); else if (axis.isQuery) on.choose(token); };
    return element("button", { type: "button", class: "token", "data-token": token, tabindex: "-1", onclick: press, ...hover }, shownText(text));
  });
  const list = element("div", { class: "tokens", role: "group", "aria-label": `${axis.name}: ${axis.tokens.length} tokens` }, ...tokens);
  const hint = axis.isQuery ? (axis.isKey ? "" : " – point at one") : " – what it attends to";
  const part = element("div", { class: "strip" }, element("p", { class: "note" }, `${axis.name[0].toUpperCase()}${axis.name.slice(1)}${hint}`), list);
  return { ...axis, part, tokens };
}

/** Mark the query and the hidden tokens. @param hidden what these are: "hidden", "masked" or null where none can be */
export function markTokens(query, hidden) {
  for (const { isQuery, kind, tokens } of strips) {
    tokens.forEach((part, token) => {
      const selected = isQuery && token === query;
      part.toggleAttribute("data-selected", selected);
      if (part.tagName === "BUTTON") {
        part.setAttribute("aria-pressed", String(selected));
        part.tabIndex = selected || (token === 0 && !(isQuery && Number.isInteger(query))) ? 0 : -1;
      }
      if (hidden && kind === "input" && state.hide.includes(token)) part.dataset.hidden = hidden;
      else delete part.dataset.hidden;
    });
  }
  if ($("strips").contains(document.activeElement)) $("strips").querySelector("button[data-selected]")?.focus();
}

/** Paint the keys by the row on show: the largest weight has the full colour. */
export function paintTokens(row) {
  const max = row[largest(row)];
  for (const { isKey, tokens } of strips) {
    if (!isKey) continue;
    tokens.forEach((part, token) => paintToken(part, row[token], max));
  }
}

/** Forget what is painted, where the keys of the row on show are no tokens. */
export function clearTokens() {
  for (const { tokens } of strips) for (const part of tokens) paintToken(part, 0, 0);
}

function paintToken(part, weight, max) {
  part.style.setProperty("--w", max > 0 ? Math.max(weight, 0) / max : 0);
  part.title = max > 0 ? percent(weight) : "";
}

/** A text as tokens with values of their own, such as relevance. */
export function valuedTokens(tokens, values, name) {
  const max = Math.max(...values, 0);
  return element("div", { class: "tokens", role: "group", "aria-label": name }, ...tokens.map((text, token) => {
    const part = element("span", { class: "token", title: values[token].toPrecision(2) }, shownText(text));
    part.style.setProperty("--w", max > 0 ? Math.max(values[token], 0) / max : 0);
    return part;
  }));
}
