/** Small pieces that all views are made of. Captions, labels and notes are untrusted: they only ever become text. */

import { picture } from "./server.js";

/** What the server says of itself, and which autoencoder is chosen. */
export const state = { about: /** @type {any} */ (null), sae: "" };

/**
 * @param {string} tag @param {Record<string, any>} [given] Attributes, `on…` listeners, `text`.
 * @param {...(Node | string | null | undefined | false)} children @returns {any}
 */
export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "vars") for (const [key, each] of Object.entries(value)) made.style.setProperty(key, String(each));
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** @param {string} name @param {Record<string, string | number>} given @param {string} [text] */
export function shape(name, given, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

const two = new Intl.NumberFormat("en", { minimumSignificantDigits: 2, maximumSignificantDigits: 2 });
/** @param {number | null} value */
export const brief = (value) => (value === null || value === undefined ? "–" : two.format(value).replace("-", "−"));
/** @param {number | null} value */
export const fixed = (value) => (value === null || value === undefined ? "–" : value.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "−"));
/** @param {{correlation_low: number | null, correlation_high: number | null}} row @returns {string} Of its agreement; empty if none is known. */
export const interval = (row) =>
  row.correlation_low === null || row.correlation_high === null ? "" : `[${fixed(row.correlation_low)}, ${fixed(row.correlation_high)}]`;
/** @returns {string} What agreement is: of which pairs too, since a report has that of others. */
export const agreement = () => `correlation of its coefficients in ${rowsOf(0, 1)} and ${rowsOf(1, 1)}, over pairs: ${state.about.fitted.which}`;
/** @param {number} value */
export const whole = (value) => value.toLocaleString("en");
/** @param {number} value */
export const percent = (value) => `${(100 * value).toFixed(Math.abs(value) < 0.095 ? 1 : 0)}%`.replace("-", "−");

/** @param {number} side @param {number} [count] What rows of a modality are called. */
export function rowsOf(side, count = 2) {
  const name = state.about.modalities[side];
  if (name === "text") return count === 1 ? "caption" : "captions";
  if (name === "image") return count === 1 ? "image" : "images";
  return count === 1 ? `${name} row` : `${name} rows`;
}

/** @param {string} kind */
export function className(kind) {
  if (kind === "image_only") return `${rowsOf(0)} only`;
  if (kind === "text_only") return `${rowsOf(1)} only`;
  return kind;
}

/** @param {{atom: number, label: string}} row */
export const nameOf = (row) => row.label || `atom ${row.atom}`;

/** A button that copies the address. */
export function copyLink() {
  const copy = el("button", { type: "button", text: "copy link", onclick: async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      copy.textContent = "copied";
    } catch {
      copy.textContent = "the address is the link";
    }
  } });
  return copy;
}

export const saeNow = () => state.about.saes.find((/** @type {any} */ sae) => sae.name === state.sae);

const soon = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      soon.unobserve(target);
      const image = /** @type {HTMLImageElement} */ (target);
      picture(Number(image.dataset.pair)).then((found) => {
        if (found) image.src = found;
        else image.replaceWith(el("span", { class: "words", text: image.alt }));
      });
    }
  },
  { rootMargin: "300px" },
);

/** @param {number} pair @param {string} caption A pair's picture, which comes when it is near; its caption if there is none. */
export function thumbnail(pair, caption) {
  if (!state.about.pictures) return el("span", { class: "words", text: caption });
  const image = el("img", { alt: caption, title: caption, "data-pair": pair, width: 64, height: 64, decoding: "async" });
  soon.observe(image);
  return image;
}

/** @param {{pair: number, side: number}[]} tops @param {Record<string, string>} captions */
export function strip(tops, captions) {
  const row = el("span", { class: "strip" });
  for (const { pair, side } of tops) row.append(el("span", { class: `thumb side-${side}` }, thumbnail(pair, captions[pair])));
  return row;
}

/** @param {string} query @returns {RegExp | null} Its words, any of them. */
function wordsOf(query) {
  const words = query.match(/[\p{L}\p{N}_]+/gu) ?? query.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"));
  return words.length ? new RegExp(`(${words.join("|")})`, "giu") : null;
}

/** @param {string} query @returns {string} That a minus before a word leaves nothing out; nothing to say of a search without one. */
export function minus(query) {
  const word = query.match(/(?:^|\s)[-−]([\p{L}\p{N}_]+)/u)?.[1];
  return word ? ` (a minus leaves nothing out here: “${word}” is looked for as the other words are)` : "";
}

const SEEN = 24;

/** @param {string} text @param {string} query @returns {string} A long text from a little before the first word of a search on. */
export function around(text, query) {
  const words = wordsOf(query);
  const place = words ? text.search(words) : 0;
  if (place <= SEEN) return text;
  const space = text.indexOf(" ", place - SEEN);
  return `… ${text.slice(space < 0 ? place : Math.min(space + 1, place))}`;
}

/** @param {string} text @param {string} query @returns {(Node | string)[]} The text, in which the words of a search are marked. */
export function marked(text, query) {
  const words = wordsOf(query);
  if (!words) return [text];
  return text.split(words).map((part, place) => (place % 2 ? el("mark", { text: part }) : part));
}

/** @param {string} kind */
export const chip = (kind) => el("span", { class: `chip ${kind}`, text: className(kind) });

/** @param {unknown} error */
export function complain(error) {
  if (/** @type {any} */ (error)?.name === "AbortError") return;
  const line = /** @type {HTMLElement} */ (document.getElementById("trouble"));
  line.textContent = error instanceof Error ? error.message : String(error);
  line.hidden = false;
}

export function content() {
  const line = /** @type {HTMLElement} */ (document.getElementById("trouble"));
  line.hidden = true;
}
