/** The page: what is shown follows from the address. */

import { goOn, named, rewrite, views } from "./address.js";
import { ask } from "./ask.js";
import { closeAtom, keepDrafts, showAtom } from "./atom.js";
import { atoms } from "./atoms.js";
import { compare } from "./compare.js";
import { map } from "./map.js";
import { complain, content, el, rowsOf, saeNow, state, whole } from "./parts.js";
import { call } from "./server.js";

Object.assign(views, { ask, atoms, map, compare });

const view = /** @type {HTMLElement} */ (document.getElementById("view"));
const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("atom"));
const chosen = /** @type {HTMLSelectElement} */ (document.getElementById("sae"));
let shown = "";

function follow() {
  const { view: name, strange, sae, atom, of, chosen: text } = named();
  content();
  const served = state.about.saes.map((/** @type {any} */ each) => each.name);
  const missing = [sae, of].find((each) => each && !served.includes(each));
  const why = [
    strange && `There is no view ${strange} here; there are ${Object.keys(views).join(", ")}.`,
    missing && `There is no autoencoder ${missing} here; there are ${served.join(", ")}.`,
  ].filter(Boolean).join(" ");
  if (why) complain(why);
  if (!missing && sae && sae !== state.sae) choose(sae);
  const another = (text || !atom) && views[name].take(text, why);
  if (another || shown !== `${name} ${state.sae}`) {
    shown = `${name} ${state.sae}`;
    for (const link of document.querySelectorAll("#views a")) {
      if (link.getAttribute("data-view") === name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${name} – isoenergy explorer`;
    view.replaceChildren();
    views[name].show(view);
  }
  rewrite(why ? {} : { atom, of });
  if (atom && !why) showAtom(dialog, of || state.sae, atom);
  else closeAtom(dialog);
}

/** @param {string} name */
function choose(name) {
  state.sae = name;
  chosen.value = name;
  tell();
}

function tell() {
  const { about } = state;
  const sae = saeNow();
  const some = about.total > about.pairs ? `a sample of ${whole(about.pairs)} of ${whole(about.total)} pairs` : `${whole(about.pairs)} pairs`;
  const { bimodal, image_only, text_only } = sae.classes;
  const [line, more] = /** @type {any} */ (document.getElementById("about")).children;
  line.textContent = `${about.title}: ${some}; ${sae.name}: ${whole(sae.live)} atoms, ${whole(sae.shared)} shared in meaning`;
  more.textContent = `${sae.name} has ${whole(sae.live)} live atoms of ${whole(sae.atoms)}, ${whole(bimodal)} bimodal, ` +
    `${whole(image_only)} of ${rowsOf(0)} only, ${whole(text_only)} of ${rowsOf(1)} only. ${whole(sae.shared)} of the bimodal ones are shared in meaning: ` +
    `${rowsOf(0)} and ${rowsOf(1)} of the same pairs fire them together, beyond chance. An atom is bimodal if each modality has at least 5% of its energy. ` +
    `What is said of atoms is of ${about.fitted.which}, ${whole(about.fitted.pairs)} pairs; examples and neighbours are of all ${whole(about.pairs)}.` +
    (about.total > about.pairs ? ` These are drawn at random of the store’s ${whole(about.total)}, the same ones at each start (--most-pairs, --seed); among them all is exact.` : "");
}

async function start() {
  try {
    state.about = await call("about");
  } catch (error) {
    view.replaceChildren();
    complain(error);
    return;
  }
  for (const sae of state.about.saes) chosen.append(el("option", { value: sae.name, text: `${sae.name} (β ${sae.beta})` }));
  const aligned = state.about.saes.find((/** @type {any} */ sae) => sae.beta > 0); // as the report does
  choose((aligned ?? state.about.saes[0]).name);
  chosen.addEventListener("change", () => {
    choose(chosen.value);
    goOn();
    follow();
  });
  dialog.addEventListener("close", async () => {
    const { view: name, atom } = named();
    if (atom) goOn();
    if (document.activeElement === document.body || dialog.contains(document.activeElement)) { // nothing was focused before: a link has led to the atom
      view.focus({ preventScroll: true });
      if (atom) views[name].focus?.(Number(atom));
    }
    const trouble = await keepDrafts();
    if (trouble) complain(trouble);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  window.addEventListener("popstate", follow); // of a link, "back" and an address that is typed, the one that is there too
  follow();
}

start();
