/** The page: what is shown follows from the hash, `#VIEW`, `#VIEW/SAE/ATOM` or `#ask/SAE?QUESTION`, so that links and "back" work. */

import { address, askHash, showAsk, takeQuestion } from "./ask.js";
import { showAtom } from "./atom.js";
import { showAtoms } from "./atoms.js";
import { showCompare } from "./compare.js";
import { showMap } from "./map.js";
import { complain, content, el, named, rowsOf, saeNow, state, whole } from "./parts.js";
import { call } from "./server.js";

/** @type {Record<string, (view: HTMLElement) => void>} */
const VIEWS = { ask: showAsk, atoms: showAtoms, map: showMap, compare: showCompare };

const view = /** @type {HTMLElement} */ (document.getElementById("view"));
const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("atom"));
const chosen = /** @type {HTMLSelectElement} */ (document.getElementById("sae"));
let shown = "";

function follow() {
  const { view: name, sae, atom, question } = named();
  const next = name in VIEWS ? name : "ask";
  content();
  const served = state.about.saes.map((/** @type {any} */ each) => each.name);
  const missing = Boolean(sae) && !served.includes(sae);
  const why = missing ? `There is no autoencoder ${sae} here; there are ${served.join(", ")}.` : "";
  if (why) complain(why);
  else if (sae && sae !== state.sae) choose(sae);
  const another = next === "ask" && (question !== undefined || !atom) && takeQuestion(question ?? "", why);
  if (another || shown !== `${next} ${state.sae}`) {
    shown = `${next} ${state.sae}`;
    for (const link of document.querySelectorAll("#views a")) {
      if (link.getAttribute("data-view") === next) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = `${next} – isoenergy explorer`;
    view.replaceChildren();
    VIEWS[next](view);
  }
  if (next === "ask") address("replaceState", missing ? "" : atom);
  if (atom && !missing) showAtom(dialog, state.sae, atom);
  else if (dialog.open) dialog.close();
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
    location.hash = shown.startsWith("ask ") ? askHash() : `#${named().view}`;
    follow();
  });
  dialog.addEventListener("close", () => {
    const { view: name, atom } = named();
    if (atom === undefined) return;
    if (name === "ask") address("pushState");
    else history.pushState(null, "", `#${name}`);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  window.addEventListener("hashchange", follow);
  window.addEventListener("popstate", follow);
  follow();
}

start();
