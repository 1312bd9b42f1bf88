// The tabs: the image, and what there is to see of the model itself.

import { $, element } from "./controls.js";
import { showCost } from "./cost.js";
import { showDistance } from "./distance.js";
import { showFilters } from "./filters.js";
import { showImportance } from "./importance.js";
import { newest } from "./numbers.js";
import { showPositions } from "./positions.js";
import { state, writeAddress } from "./state.js";
import { currentModel, view } from "./view.js";

// name -> [title, what it shows of a model of images, of one of texts ("" if nothing), how it is drawn, whether only a running explorer can measure it]
const TABS = {
  "": ["Image", "", "Text", null, false],
  positions: ["Positions", "Cosine similarity of the position embeddings: which positions the model treats as neighbours.", "Cosine similarity of the positions: which tokens the model treats as neighbours.", showPositions, false],
  filters: ["Filters", "What the first layer computes from a patch.", "", showFilters, false],
  distance: ["Attention distance", "Mean distance between a patch and the patches that it attends to, for each head.", "Mean distance between a token and the tokens that it attends to, for each head.", showDistance, false],
  importance: ["Head importance", "What the model loses without each head and each block.", "", showImportance, true],
  cost: ["Cost", "Parameters and multiply-adds, by part and by image size.", "Parameters and multiply-adds, by part and by the length of the text.", showCost, false],
};
const noteOf = (name, model) => TABS[name][model.readsTexts ? 2 : 1];

/**
 * Build the row of tabs.
 * @param on look() when the image is chosen, head(layer, head) when a head is
 */
export function buildTabs(on) {
  const names = Object.keys(TABS).filter((name) => !TABS[name][4] || view.source.measure);
  $("tabs").replaceChildren(...names.map((name) => element("button", { type: "button", role: "tab", id: `tab-${name || "look"}`, "data-tab": name,
    "aria-controls": name ? "about" : "look", onclick: () => chooseTab(name, on) }, TABS[name][0])));
  $("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -names.length, End: names.length }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const there = [...$("tabs").children].filter((tab) => !tab.hidden);
    const next = there[Math.min(Math.max(there.findIndex((tab) => tab.dataset.tab === state.tab) + step, 0), there.length - 1)];
    chooseTab(next.dataset.tab, on);
    next.focus();
  });
}

function chooseTab(name, on) {
  state.tab = name;
  showTab(on);
  writeAddress();
  if (name === "") on.look(); // what was chosen in another tab
}

/** Show the tab of the state. */
export function showTab(on) {
  const texts = Boolean(currentModel()?.readsTexts);
  for (const tab of $("tabs").children) tab.hidden = texts && !TABS[tab.dataset.tab][2];
  $("tab-look").textContent = TABS[""][texts ? 2 : 0];
  if (!$("tabs").querySelector(`[data-tab="${CSS.escape(state.tab)}"]:not([hidden])`)) state.tab = "";
  for (const tab of $("tabs").children) {
    const selected = tab.dataset.tab === state.tab;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    if (selected && $("tabs").scrollWidth > $("tabs").clientWidth) tab.scrollIntoView({ block: "nearest", inline: "center" });
  }
  document.body.dataset.tab = state.tab;
  $("look").hidden = state.tab !== "";
  $("about").hidden = state.tab === "";
  if (state.tab !== "") drawAbout(on);
}

const drawAbout = newest(async (on) => {
  const tab = state.tab, model = currentModel();
  if (!tab || !model) return;
  const [title, , , draw] = TABS[tab], note = noteOf(tab, model), panel = $("about");
  const key = `${tab}/${model.key}/${tab === "distance" ? `${view.input}/${model.readsLabels ? `${state.labels}/${state.label}` : ""}` : ""}`;
  panel.setAttribute("aria-labelledby", `tab-${tab}`);
  if (panel.dataset.key !== key) {
    panel.dataset.key = key;
    panel.dataset.state = "loading";
    panel.replaceChildren(element("section", {}, element("h2", {}, title), element("p", { class: "note" }, note),
      element("div", { class: "waiting", role: "status" }, element("div", { class: "spinner", "aria-hidden": "true" }), "Reading the model")));
  }
  const current = () => state.tab === tab && currentModel()?.key === model.key && panel.dataset.key === key;
  try {
    const sections = await draw(model, { ...on, current, again: () => drawAbout(on) });
    if (!current()) return;
    sections[0].prepend(element("h2", {}, `${title} of ${model.name.split(/[\\/]/).at(-1)}`), element("p", { class: "note" }, note));
    const { activeElement } = document, inside = panel.contains(activeElement) ? activeElement : null;
    const again = inside?.id ? `#${inside.id}` : inside?.name ? `input[name="${inside.name}"]:checked` : "";
    panel.replaceChildren(...sections);
    if (again) panel.querySelector(again)?.focus();
    panel.dataset.state = "ready";
  } catch (error) {
    if (!current()) return;
    panel.replaceChildren(element("section", {}, element("h2", {}, title), element("p", { class: "note" }, note), element("p", { class: "nothing" }, error.message)));
    panel.dataset.state = "error";
    delete panel.dataset.key;
  }
});
