/**
 * The address, of all views alike: `#VIEW/SAE/ATOM?CHOSEN`. All that is chosen in a view is in it, so that a reload, a bookmark,
 * a copied link and "back" bring it back. An atom of another autoencoder than the view's has that one's name in `of`.
 *
 * @typedef {object} View
 * @property {(view: HTMLElement) => void} show
 * @property {() => string} written What is chosen in it, as a query; empty: nothing.
 * @property {(text: string, why: string) => boolean} take Choose what a query says; whether that is another. why: what else is
 *   wrong with the address.
 * @property {(atom: number) => void} [focus] Focus where an atom stands that was opened and is closed.
 */

import { complain, state } from "./parts.js";

/** @type {Record<string, View>} */
export const views = {};

/** What the address names. */
export function named() {
  const [path, ...query] = location.hash.slice(1).split("?");
  const [view, sae, atom] = path.split("/").map(decoded);
  const values = new URLSearchParams(query.join("?"));
  const of = values.get("of") ?? "";
  values.delete("of");
  const known = Object.hasOwn(views, view);
  return { view: known ? view : "ask", strange: known ? "" : view, sae, atom, of, chosen: String(values) };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} view @param {string} [atom] One that is opened. @param {string} [of] @returns {string} The hash of a view as it is now. */
export function hashNow(view, atom, of) {
  const path = [`#${view}`, ...[state.sae, atom ?? ""].filter(Boolean).map(encodeURIComponent)].join("/");
  const query = [views[view].written(), of ? `of=${encodeURIComponent(of)}` : ""].filter(Boolean).join("&");
  return query ? `${path}?${query}` : path;
}

/** @param {string} sae @param {number} atom @returns {string} Opens an atom where one is; what is chosen there stays. */
export const hashOf = (sae, atom) =>
  `#${named().view}/${encodeURIComponent(state.sae)}/${atom}${sae === state.sae ? "" : `?of=${encodeURIComponent(sae)}`}`;

/** Write what is chosen now in place of the address that is there. @param {{atom?: string, of?: string}} [opened] */
export const rewrite = ({ atom, of } = named()) => put("replaceState", hashNow(named().view, atom, of));

/** Go on to what is chosen now, with no atom open: "back" leads to what was there. */
export const goOn = () => put("pushState", hashNow(named().view));

/** @param {"pushState" | "replaceState"} how @param {string} hash */
function put(how, hash) {
  if (hash !== location.hash) history[how](null, "", hash);
  for (const link of document.querySelectorAll("#views a")) link.setAttribute("href", hashNow(link.getAttribute("data-view") ?? ""));
}

/**
 * What is chosen in a view: words, of which those that are not as at first are in its address.
 * @template {Record<string, string>} Chosen @param {Chosen} first @param {Record<string, Options>} [options] Of those that are not free.
 * @typedef {{called: string, of: string[], several?: boolean}} Options several: with commas between.
 */
export function choices(first, options = {}) {
  const now = { ...first };
  const written = () => String(new URLSearchParams(Object.entries(now).filter(([name, value]) => value !== first[name]))).replaceAll("%2C", ",");
  /** @param {string} text @param {string} why */
  const take = (text, why) => {
    const before = written();
    const values = new URLSearchParams(text);
    const lost = [why, ...strangers(values, Object.keys(first))];
    for (const name of Object.keys(first)) {
      const value = values.get(name) ?? first[name];
      const { called, of, several } = options[name] ?? { called: "", of: [value] };
      const given = several && value ? value.split(",") : [value];
      const fitting = given.filter((each) => of.includes(each));
      if (fitting.length < given.length) lost.push(`There is no ${called} ${given.filter((each) => !of.includes(each)).join(", ")} here; there are ${of.filter(Boolean).join(", ")}.`);
      /** @type {Record<string, string>} */ (now)[name] = fitting.length ? fitting.join(",") : first[name];
    }
    if (lost.some(Boolean)) complain(lost.filter(Boolean).join(" "));
    return written() !== before;
  };
  return { now, written, take };
}

/** @param {URLSearchParams} values @param {string[]} known @returns {string[]} What is said of names that an address should not have. */
export const strangers = (values, known) =>
  [...new Set(values.keys())].filter((name) => !known.includes(name)).map((name) => `Nothing here is called ${name}; an address may have ${known.join(", ")}.`);
