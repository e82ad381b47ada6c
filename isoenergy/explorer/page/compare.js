/** Two dictionaries side by side: atoms matched one to one, and what one splits and the other joins. */

import { choices, goOn, hashOf, rewrite } from "./address.js";
import { className, complain, el, fixed, nameOf, state, strip, whole } from "./parts.js";
import { query } from "./server.js";

const AT_ONCE = 60;
const { now: chosen, written, take: choose } = choices({ beside: "", order: "alike" }, { order: { called: "order", of: ["alike", "unlike"] } });
export const compare = { show, written, take };

const served = () => state.about.saes.map((/** @type {any} */ sae) => sae.name);

/** @param {string} text @param {string} why */
function take(text, why) {
  const beside = new URLSearchParams(text).get("beside") ?? "";
  let lost = "";
  if (beside && !served().includes(beside)) lost = `There is no autoencoder ${beside} here; there are ${served().join(", ")}.`;
  else if (beside === state.sae) lost = `${beside} is not shown beside itself, but beside another.`;
  return choose(text, [why, lost].filter(Boolean).join(" "));
}

/** @param {HTMLElement} view */
function show(view) {
  const others = served().filter((/** @type {string} */ name) => name !== state.sae);
  view.append(el("h2", { text: `${state.sae}, beside another` }));
  if (!others.length) {
    view.append(el("p", { text: "There is one autoencoder here. Start with several to compare them: isoenergy explore SAE SAE --store STORE" }));
    return;
  }
  if (!others.includes(chosen.beside)) chosen.beside = others[0];
  const body = el("div", { class: "compared" });
  const select = el("select", { id: "compare-with", onchange: () => { chosen.beside = select.value; goOn(); load(); } }, ...others.map((/** @type {string} */ name) => el("option", { value: name, text: name, selected: name === chosen.beside })));
  view.append(el("div", { class: "choosing" }, el("label", { text: "Beside" }, select)), body);

  async function load() {
    body.replaceChildren(el("p", { class: "quiet", role: "status", text: "Matching atoms …" }));
    try {
      const found = await query("compare", { first: state.sae, second: chosen.beside });
      if (found.second !== chosen.beside || !body.isConnected) return;
      tell(found);
    } catch (error) {
      body.replaceChildren();
      complain(error);
    }
  }

  /** @param {any} found */
  function tell(found) {
    const cut = found.left_out.some((/** @type {number} */ n) => n > 0) && found.atoms.some((/** @type {number} */ n) => n >= 4096);
    body.replaceChildren(
      el("p", { id: "compare-summary", text: `${whole(found.same)} of ${whole(found.atoms[0])} atoms of ${found.first} are in ${found.second} too (cosine 0.7 and more, matched one to one among all live atoms); ` +
        `${whole(found.alone[0])} are in ${found.first} alone and ${whole(found.alone[1])} in ${found.second} alone. The mean cosine of matched atoms is ${fixed(found.mean)}.` + (cut ? " The 4,096 strongest of each are matched." : "") }),
      el("h3", { text: `What ${found.second} splits` }),
      groups(found, found.splits, found.first, found.second, `An atom of ${found.first}, and those of ${found.second} that are nearest to it`),
      el("h3", { text: `What ${found.second} joins` }),
      groups(found, found.joins, found.second, found.first, `An atom of ${found.second}, and those of ${found.first} that are nearest to it`),
      el("div", { class: "row" }, el("h3", { text: "Matched atoms" }),
        el("button", { type: "button", id: "compare-order", text: chosen.order === "alike" ? "least alike first" : "most alike first", onclick: () => {
          chosen.order = chosen.order === "alike" ? "unlike" : "alike";
          rewrite();
          tell(found);
        } })),
      matched(found),
    );
  }
  load();
}

/** @param {any} found @param {string} sae @param {any} row */
const link = (found, sae, row) => el("span", { class: `one ${row.class}` }, strip(row.top, found.captions), el("a", { href: hashOf(sae, row.atom), text: nameOf(row) }), el("span", { class: "quiet", text: ` ${row.label ? `atom ${row.atom}, ` : ""}${className(row.class)}${row.cosine === undefined ? "" : `, cosine ${fixed(row.cosine)}`}` }));

/** @param {any} found @param {any[]} rows @param {string} whole_ @param {string} parts @param {string} why */
function groups(found, rows, whole_, parts, why) {
  if (!rows.length) return el("p", { class: "quiet", text: "Nothing." });
  const list = el("ul", { class: "groups" });
  return el("div", {}, el("p", { class: "quiet", text: `${why}: ${whole(rows.length)} in all.` }), list, more(list, rows, 12, (group) =>
    el("li", {}, link(found, whole_, group.atom), el("ul", {}, ...group.parts.map((/** @type {any} */ part) => el("li", {}, link(found, parts, part)))))));
}

/** @param {any} found */
function matched(found) {
  const rows = el("tbody");
  const table = el("table", { class: "matched" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col", text: found.first }), el("th", { scope: "col", text: found.second }), el("th", { scope: "col", class: "number", text: "cosine" }))), rows);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "matched atoms" }, table, more(rows, chosen.order === "alike" ? found.pairs : [...found.pairs].reverse(), AT_ONCE, (pair) =>
    el("tr", {}, el("td", {}, link(found, found.first, pair.first)), el("td", {}, link(found, found.second, pair.second)), el("td", { class: "number", text: fixed(pair.cosine) }))));
}

/** @param {HTMLElement} list @param {any[]} rows @param {number} step @param {(row: any) => HTMLElement} made */
function more(list, rows, step, made) {
  let shown = 0;
  const button = el("button", { type: "button", onclick: add });
  function add() {
    list.append(...rows.slice(shown, shown + step).map(made));
    shown = Math.min(shown + step, rows.length);
    button.textContent = `show more of ${whole(rows.length)}`;
    button.hidden = shown >= rows.length;
  }
  add();
  return button;
}
