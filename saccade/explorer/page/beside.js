// A second model, or a second image, beside the first: the same layer, head and query.

import { $, element, notice } from "./controls.js";
import { overHeads } from "./heads.js";
import { newest, percent } from "./numbers.js";
import { Pane, placeOf, sums } from "./stage.js";
import { state } from "./state.js";

/** The token of another stream at the same place: a patch by the place of its centre, a prefix token by its number. */
export function sameToken(from, to, token, fallback) {
  const place = from.overGrid && to.overGrid ? placeOf(from, token) : null;
  if (place) {
    const [row, column] = [0, 1].map((axis) => Math.min(to.grid[axis] - 1,
      Math.floor((((place[axis] + 0.5) * from.stride[axis]) / from.size[axis]) * (to.size[axis] / to.stride[axis]))));
    return to.prefix.length + row * to.grid[1] + column;
  }
  if (token === "mean") return to.overGrid ? "mean" : fallback;
  const count = to.overGrid ? to.prefix.length : to.queries;
  return from.overGrid === to.overGrid && token < count ? token : fallback;
}

/** Fill the choice of what stands beside. */
export function offerBeside(models, images) {
  const option = (model, image) => ({ key: `${model.key}/${image.key}`, model, image });
  const here = images.find(({ key }) => key === state.image), mine = models.find(({ key }) => key === state.model);
  if (!here || !mine) return;
  const short = (name) => name.split(/[\\/]/).at(-1);
  const group = (label, options, text) => (options.length ? [element("optgroup", { label },
    ...options.map((one) => element("option", { value: one.key }, text(one))))] : []);
  const others = models.filter((model) => model !== mine).map((model) => option(model, here));
  const pictures = images.filter((image) => image !== here).map((image) => option(mine, image));
  $("beside").replaceChildren(element("option", { value: "" }, "nothing"),
    ...group("another model", others, ({ model }) => short(model.name)), ...group("another image", pictures, ({ image }) => image.name));
  const keys = [...others, ...pictures].map(({ key }) => key);
  if (!keys.includes(state.beside)) state.beside = "";
  $("beside").value = state.beside;
  $("beside-field").hidden = keys.length === 0;
}

export class Beside {
  constructor(source) {
    this.source = source;
    this.recording = this.run = null;
    this.pane = new Pane($("second-frame"));
    this.refresh = newest((first, token) => this.draw(first, token));
  }

  /** The stream on show: the one of the same kind as the first pane's. */
  stream(first) {
    return this.recording?.streams.find(({ name }) => name === first?.name) ?? this.recording?.streams[0] ?? null;
  }

  /** Open what the state names; `change` belongs to the first model and is applied to that one alone. */
  async open(name, change) {
    const chosen = state.beside, [model, image] = chosen.split("/");
    const run = chosen ? { model, image, change: model === state.model ? change : "" } : null;
    $("second").hidden = !chosen;
    $("pair").classList.toggle("two", Boolean(chosen));
    if (JSON.stringify(run) === JSON.stringify(this.run)) return;
    this.run = this.recording = null;
    if (!run) return;
    try {
      const recording = await this.source.recording(run);
      if (state.beside !== chosen) return;
      for (const stream of recording.streams) stream.size = recording.size;
      Object.assign(this, { run, recording });
      this.pane.showImage(this.source.shown(run), recording, name);
    } catch (error) {
      state.beside = "";
      $("second").hidden = true;
      $("pair").classList.remove("two");
      notice(error.message);
    }
  }

  async draw(first, token) {
    const stream = this.stream(first), { recording, run } = this;
    if (!stream) return;
    const same = sameToken(first, stream, token, stream.overGrid ? recording.query : 0);
    const last = stream.layers.length - 1, layer = state.layer < 0 ? last : Math.min(state.layer, last), { heads } = stream.layers[layer], head = Math.min(state.head, heads - 1);
    this.pane.drawMarks(stream, same, run.model === state.model && run.change ? state.hide : []);
    const classes = state.show === "relevance" && run.model === state.model; // two models may have others
    const show = state.show === "relevance" && !classes ? "rollout" : state.show;
    try {
      let row;
      if (classes) {
        const values = await this.source.relevance(run, state.label);
        row = new Float32Array(stream.prefix.length + values.length);
        row.set(values, stream.prefix.length);
      } else if (show === "rollout") {
        row = await this.source.rollout(run, stream, same);
      } else {
        const rows = await this.source.layer(run, stream, layer, same), keys = rows.length / heads;
        row = show === "head" ? rows.subarray(head * keys, (head + 1) * keys) : overHeads(rows, heads, show);
      }
      if (run !== this.run) return;
      this.pane.showRow(stream, row);
      const best = recording.result?.top?.[0], where = classes ? `relevance for ${state.label}` : show === "rollout" ? "rollout" : `layer ${layer + 1}${show === "head" ? `, head ${head + 1}` : `, ${show}`}`;
      $("second-caption").textContent = [best ? `${best.label} ${percent(best.score)}` : "", where, classes ? "" : sums(stream, row)].filter(Boolean).join(" · ");
      $("second-frame").dataset.query = same;
    } catch (error) {
      notice(error.message);
    }
  }
}
