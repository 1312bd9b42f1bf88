// Faithfulness of the map on show: how the class changes when its patches are hidden or shown.

import { $, element } from "./controls.js";
import { state } from "./state.js";
import { defaultQuery, query, view } from "./view.js";

let scored = ""; // the map whose score is on show

/** The map on show; null where it cannot be scored. */
function shownMap() {
  const { source, run, original } = view;
  if (!source.score || !original?.result?.top || (state.show !== "relevance" && query() !== defaultQuery())) return null;
  return { run, map: { show: state.show, layer: state.layer, head: state.head, query: query(), label: state.label } };
}

const keyOf = (shown) => JSON.stringify(shown);

/** Offer the score of the map on show; that of another map goes. */
export function showScore() {
  const shown = shownMap();
  $("score-row").hidden = !shown;
  if (!shown || scored === keyOf(shown)) return;
  scored = "";
  $("score-text").replaceChildren();
  $("score").hidden = false;
}

export async function scoreMap() {
  const shown = shownMap();
  if (!shown) return;
  const key = scored = keyOf(shown);
  $("score").hidden = true;
  $("score-text").replaceChildren(element("span", { class: "note" }, "Hiding and showing patches, in about 160 runs of the model …"));
  try {
    const score = await view.source.score(shown.run, shown.map);
    if (scored === key) $("score-text").replaceChildren(...lines(score));
  } catch (error) {
    if (scored === key) $("score-text").replaceChildren(element("span", { class: "nothing" }, error.message));
  }
}

function lines(score) {
  const row = (name, value, note) => [element("dt", {}, name), element("dd", {}, value.toFixed(2).replace("-", "−")), element("dd", { class: "note" }, note)];
  const span = (values) => `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`;
  const count = score.random_deletion.length, hides = score.deletion < Math.min(...score.random_deletion), shows = score.insertion > Math.max(...score.random_insertion);
  const verdict = hides && shows ? `Better than ${count} random maps: the patches that it marks matter for ${score.label}.`
    : hides ? `Partly better than ${count} random maps: without the patches that it marks, ${score.label} falls faster, but these patches alone do not raise it.`
      : shows ? `Partly better than ${count} random maps: the patches that it marks raise ${score.label}, but without them it does not fall faster.`
        : `Not better than ${count} random maps: this map does not explain ${score.label}.`;
  return [element("b", {}, verdict), element("dl", {},
    ...row("Deletion", score.deletion, `lower is better; random ${span(score.random_deletion)}, blob ${score.blob_deletion.toFixed(2)}`),
    ...row("Insertion", score.insertion, `higher is better; random ${span(score.random_insertion)}, blob ${score.blob_insertion.toFixed(2)}`),
    ...row("SaCo", score.saco, "from −1 to 1; higher is better"))];
}
