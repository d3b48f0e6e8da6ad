// Elements and numbers. Text is inserted only as text nodes, never as markup.

const MISSING = "–";

/** Create an element with properties (aria-* and data-* as attributes) and children; strings become text. */
function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.includes("-") || ["role", "lang", "dir", "scope", "colspan", "rowspan", "for"].includes(name)) {
      node.setAttribute(name, value);
    } else {
      node[name] = value;
    }
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const byId = (id) => document.getElementById(id);

/** A number with fixed decimals; a dash if it is not finite. */
function decimal(value, digits = 1) {
  return Number.isFinite(value) ? value.toFixed(digits) : MISSING;
}

const count = (value) => value.toLocaleString("en");

const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/gu; // Hebrew, Arabic, Syriac ...

/** Direction of an utterance: that of most letters of its reference, also for output in another script. */
function direction({ reference, first }) {
  const text = reference || first.hypothesis;
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  return 2 * (text.match(RIGHT_TO_LEFT)?.length ?? 0) > letters ? "rtl" : "ltr";
}

const THEME = "zipperasr-theme";

/** Follow the system's colour scheme until the button is used; then store the choice if the browser allows it. */
function startTheme(button) {
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const stored = (write) => {
    try {
      return write ? localStorage.setItem(THEME, write) : localStorage.getItem(THEME);
    } catch (error) {
      if (error instanceof DOMException) return null; // storage is forbidden here
      throw error;
    }
  };
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const show = () => button.setAttribute("aria-pressed", dark());
  const kept = stored();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    stored(root.dataset.theme);
    show();
  });
  prefersDark.addEventListener("change", show);
  show();
}
