/** One atom: what fires it over all of its range, in which modality, what it is bound to, and what people note. */

import { hashNow, hashOf, rewrite } from "./address.js";
import { addAtom, isAsking } from "./ask.js";
import { agreement, brief, chip, complain, copyLink, el, fixed, interval, nameOf, percent, rowsOf, shape, state, strip, thumbnail, whole } from "./parts.js";
import { query, Refused, send } from "./server.js";

let turn = 0;
/** @type {Map<string, Draft>} What is typed and not kept yet, by autoencoder and atom. @typedef {{sae: string, atom: number, text: string}} Draft */
const drafts = new Map();
/** @type {Map<string, string>} The note that was there when its box was filled: one that is not is not overwritten. */
const read = new Map();
/** @type {Map<string, string>} What somebody else has written meanwhile where there is a draft. */
const changed = new Map();
window.addEventListener("beforeunload", (event) => drafts.size && event.preventDefault());

/** @param {HTMLDialogElement} dialog @param {string} sae @param {string} atom As the address has it. */
export async function showAtom(dialog, sae, atom) {
  turn += 1;
  const mine = turn;
  try {
    await keepDrafts();
    const found = await query(`atoms/${encodeURIComponent(atom)}`, { sae });
    if (mine !== turn) return;
    dialog.replaceChildren(page(found, dialog));
  } catch (error) {
    if (mine !== turn) return;
    if (error instanceof Refused && error.found.error) {
      closeAtom(dialog);
      complain(error);
      rewrite({});
      return;
    }
    dialog.replaceChildren(el("div", { class: "inside" }, head(dialog, `atom ${atom}`), el("p", { text: error instanceof Error ? error.message : "" })));
  }
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  document.getElementById("atom-title")?.focus();
}

/** @param {HTMLDialogElement} dialog Also of an atom that is still on its way. */
export function closeAtom(dialog) {
  turn += 1;
  if (dialog.open) dialog.close();
}

/** @param {HTMLDialogElement} dialog @param {string} title @param {...any} more */
function head(dialog, title, ...more) {
  return el("header", {},
    el("h2", { id: "atom-title", tabindex: -1, text: title }),
    el("div", { class: "beside" }, ...more),
    el("button", { type: "button", class: "close", text: "close", onclick: () => dialog.close() }));
}

/** @param {any} found @param {HTMLDialogElement} dialog */
function page(found, dialog) {
  const { numbers, captions } = found;
  const steer = isAsking() && found.sae === state.sae && el("button", { type: "button", text: "add to what is asked", onclick: async () => {
    await addAtom(numbers.atom);
    location.hash = hashNow("ask");
  } });
  return el("div", { class: "inside" },
    head(dialog, numbers.label || `Atom ${numbers.atom}`, numbers.label ? el("span", { class: "quiet", text: `atom ${numbers.atom} of ${found.sae}` }) : "", chip(numbers.class), copyLink(), steer),
    facts(numbers),
    noteOf(found),
    ...[0, 1].map((side) => examples(found, side)),
    el("h3", { text: "How strongly" }),
    histogram(found.histogram, dialog),
    others("Partners across pairs", `atoms that the other half of its pairs fires. How strongly is the mean product of both coefficients, times the atoms' cosine: below 0, the two point away from each other`, found, "partners",
      (row) => `${rowsOf(row.side, 1)} fires this, ${rowsOf(1 - row.side, 1)} fires that; ${percent(row.weight / Math.abs(found.partners[0].weight))} of the strongest`),
    others("Similar atoms", "those of the same dictionary whose directions are nearest; 1 would be the same, 0 is at right angles", found, "similar", (row) => `cosine ${fixed(row.cosine)}`),
  );
}

/** @param {any} numbers */
function facts(numbers) {
  const list = el("dl", { class: "facts" });
  const fact = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ why, span = "") =>
    list.append(el("div", { title: why }, el("dt", { text: name }), el("dd", { text: value }, span && el("span", { class: "bounds", text: ` ${span}` }))));
  fact(`agreement, of ${state.about.fitted.which}`, fixed(numbers.correlation), `${agreement()}, with its 95% interval; a report has that of the pairs that it measures on`, interval(numbers));
  fact("its sides go together", numbers.agrees ? "yes, beyond chance" : "not beyond chance", "whether that correlation is larger than of shuffled pairs (false discovery rate 5 %). The test is against shuffled pairs: of a rare atom their correlations lie closer to 0 than the interval of its own reaches, which may hold 0 all the same");
  fact("both fire", numbers.lift === null ? "–" : `${brief(numbers.lift)} times chance`, "how many times as often both halves of a pair fire it as by chance");
  fact("modality score μ", fixed(numbers.modality_score), `share of its energy that is ${rowsOf(0)}': 0 is ${rowsOf(1)} alone, 1 ${rowsOf(0)} alone`);
  fact(`energy in ${rowsOf(0)}`, brief(numbers.image_energy), "mean squared coefficient");
  fact(`energy in ${rowsOf(1)}`, brief(numbers.text_energy), "mean squared coefficient");
  fact("fires in", `${whole(numbers.image_fires)} ${rowsOf(0)}, ${whole(numbers.text_fires)} ${rowsOf(1)}`, "of all pairs here");
  return list;
}

/** @param {any} found */
function noteOf(found) {
  const { sae, numbers: { atom } } = found;
  if (!state.about.may_write) return found.note ? el("p", { class: "note", text: `✎ ${found.note}` }) : "";
  const said = el("span", { class: "quiet", role: "status" });
  const name = `${atom} ${sae}`;
  const words = el("textarea", { id: "note", rows: 2, placeholder: "What does it mean?", oninput: () => {
    drafts.set(name, { sae, atom, text: words.value });
    said.textContent = notKept(words.value);
  } });
  if (!drafts.has(name)) read.set(name, found.note);
  words.value = drafts.get(name)?.text ?? found.note;
  if (drafts.has(name)) said.textContent = notKept(words.value);
  const other = el("p", { class: "trouble", role: "alert", id: "note-changed" });
  const tellOther = () => {
    other.hidden = !changed.has(name);
    if (!other.hidden) other.replaceChildren(...otherNote(changed.get(name) ?? "", decide));
  };
  const keep = async () => {
    const trouble = await keepDrafts();
    said.textContent = !drafts.has(name) ? "kept in notes.json" : changed.has(name) ? "not kept" : trouble || notKept(words.value);
    tellOther();
  };
  const decide = (/** @type {boolean} */ mine) => {
    const there = changed.get(name) ?? "";
    changed.delete(name);
    read.set(name, there);
    if (!mine) {
      drafts.delete(name);
      words.value = there;
    }
    keep();
  };
  tellOther();
  words.addEventListener("blur", () => drafts.has(name) && keep());
  return el("form", { class: "noting", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); keep(); } },
    el("label", { for: "note", text: "Note" }), words, other,
    el("div", { class: "row" }, el("button", { type: "submit", text: "keep the note" }),
      el("button", { type: "button", text: "export all notes", onclick: exportNotes }), said));
}

/** @param {string} there @param {(mine: boolean) => void} decide What is said where somebody else has written a note meanwhile. */
const otherNote = (there, decide) => [
  there ? "Somebody else has written here since you read it: " : "Somebody else has taken the note away since you read it. ",
  there && el("q", { text: there }),
  there && ". ",
  "Yours is not kept. ",
  el("button", { type: "button", text: "keep mine in its place", onclick: () => decide(true) }),
  " ",
  el("button", { type: "button", text: there ? "take that one" : "leave it away", onclick: () => decide(false) }),
];

/** @param {string} text @returns {string} What is said of a note while it is typed. */
function notKept(text) {
  const [letters, most] = [[...text.trim()].length, state.about.limits.note];
  return letters > most ? `${whole(letters)} of at most ${whole(most)} letters: too long to be kept` : "not kept yet";
}

let keeping = Promise.resolve("");
/** Keep what is typed, however its box is left. @returns {Promise<string>} Why some of it could not be kept; empty if all is. */
export const keepDrafts = () => (keeping = keeping.then(sendDrafts));

async function sendDrafts() {
  let trouble = "";
  for (const [name, draft] of drafts) {
    if (changed.has(name)) {
      trouble = `atom ${draft.atom} of ${draft.sae} has another note by now; open it to decide which one is kept`;
      continue;
    }
    try {
      const { note } = await send(`atoms/${draft.atom}/note?sae=${encodeURIComponent(draft.sae)}`, { text: draft.text, read: read.get(name) }, "PUT");
      read.set(name, note);
      if (drafts.get(name) === draft) drafts.delete(name);
    } catch (error) {
      trouble = error instanceof Error ? error.message : "it could not be kept";
      if (error instanceof Refused && error.found.note !== undefined) changed.set(name, error.found.note);
    }
  }
  return trouble;
}

async function exportNotes() {
  try {
    const notes = await query("notes", {});
    const url = URL.createObjectURL(new Blob([JSON.stringify(notes, null, 2)], { type: "application/json" }));
    el("a", { href: url, download: "notes.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  } catch (error) {
    complain(error);
  }
}

/** @param {any} found @param {number} side */
function examples(found, side) {
  const bands = found.bands.filter((/** @type {any} */ band) => band.side === side);
  const section = el("section", {}, el("h3", { text: `${rowsOf(side)} that fire it`.replace(/^./, (letter) => letter.toUpperCase()) }));
  if (!bands.length) section.append(el("p", { class: "quiet", text: "None." }));
  for (const band of bands) {
    const tiles = el("ul", { class: "examples" });
    for (const { pair, value } of band.examples) {
      const caption = found.captions[pair];
      tiles.append(el("li", { class: `side-${side}` },
        state.about.pictures ? thumbnail(pair, caption) : "",
        el("span", { class: "caption", text: caption }),
        el("span", { class: "value quiet", text: fixed(value) })));
    }
    section.append(el("h4", { class: "quiet", text: band.band === "strongest" ? `strongest, of ${whole(band.of)}` : band.band }), tiles);
  }
  return section;
}

/** @param {{edges: number[], counts: number[][]}} drawn @param {HTMLElement} dialog */
function histogram({ edges, counts }, dialog) {
  if (!edges.length) return el("p", { class: "quiet", text: "Nothing fires it." });
  const width = Math.min(680, (dialog.clientWidth || window.innerWidth) - 48);
  const [left, half, foot] = [8, 70, 24];
  const most = Math.max(...counts.flat(), 1);
  const bins = edges.length - 1;
  const wide = (width - 2 * left) / bins;
  const height = (/** @type {number} */ n) => (half * Math.log10(1 + n)) / Math.log10(1 + most);
  const totals = counts.map((each) => each.reduce((sum, n) => sum + n, 0));
  const svg = shape("svg", { viewBox: `0 0 ${width} ${2 * half + foot}`, class: "histogram", role: "img",
    "aria-label": `coefficients from ${fixed(edges[0])} to ${fixed(edges[bins])}: ${totals[0]} ${rowsOf(0)}, ${totals[1]} ${rowsOf(1)}` });
  counts.forEach((each, side) => each.forEach((n, bin) => {
    const tall = height(n);
    svg.append(shape("rect", { x: left + bin * wide, y: side ? half : half - tall, width: Math.max(1, wide - 1), height: tall, class: `side-${side}` }));
  }));
  svg.append(shape("line", { x1: left, x2: width - left, y1: half, y2: half, class: "axis" }));
  for (const place of [0, Math.round(bins / 2), bins]) {
    svg.append(shape("text", { x: left + place * wide, y: 2 * half + 16, "text-anchor": place === 0 ? "start" : place === bins ? "end" : "middle" }, fixed(edges[place])));
  }
  return el("figure", {}, svg, el("figcaption", { class: "quiet legend" },
    ...[0, 1].map((side) => el("span", { class: `key side-${side}`, text: `${whole(totals[side])} ${rowsOf(side)}` })),
    "across: coefficient; up and down: how many, logarithmic"));
}

/** @param {string} title @param {string} why @param {any} found @param {"partners" | "similar"} kind @param {(row: any) => string} said */
function others(title, why, found, kind, said) {
  const rows = found[kind];
  const list = el("ul", { class: "others" });
  for (const row of rows) {
    list.append(el("li", { class: row.class },
      strip(row.top, found.captions),
      el("span", {}, el("a", { href: hashOf(found.sae, row.atom), text: nameOf(row) }), row.label ? el("span", { class: "quiet", text: ` ${row.atom}` }) : "",
        el("br"), el("span", { class: "quiet", text: said(row) }))));
  }
  return el("section", {}, el("h3", { text: title }), el("p", { class: "quiet", text: rows.length ? `${why}.`.replace(/^./, (letter) => letter.toUpperCase()) : "None." }), list);
}
