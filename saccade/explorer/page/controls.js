// Small parts that several panels use.

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** One of several: a row of radio buttons inside a fieldset, rebuilt only where its choices change. */
export function choices(fieldset, options, value, onchoose) {
  const key = JSON.stringify(options);
  if (fieldset.dataset.options !== key) {
    fieldset.dataset.options = key;
    fieldset.querySelector(".choices")?.remove();
    const labels = options.map(([option, text, hint]) => element("label", { title: hint ?? null },
      element("input", { type: "radio", name: fieldset.id, value: String(option), onchange: () => onchoose(option) }),
      element("span", {}, text)));
    fieldset.append(element("div", { class: "choices" }, ...labels));
  }
  for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === String(value);
}

let timer = 0;
/** Tell a screen reader, once things have come to rest. */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => { $("live").textContent = text; }, 500);
}

/** Show an error above the page until it is closed; "" hides it. */
export function notice(text) {
  $("notice").hidden = !text;
  $("notice").querySelector("p").textContent = text;
}
