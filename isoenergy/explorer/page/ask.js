/**
 * Ask by words, an image or a pair; see its atoms and its neighbours, and steer. The question stands in the address,
 * `#ask/SAE?text=…&less=…&atoms=12:0,33:0.4&ways=original,centred`, all but an image of one's own, which is known by a name
 * until the page is left.
 */

import { hashNow, hashOf, rewrite, strangers } from "./address.js";
import { className, complain, content, copyLink, el, fixed, nameOf, percent, rowsOf, saeNow, state, thumbnail, whole } from "./parts.js";
import { call, query, send } from "./server.js";

/**
 * @typedef {{text?: string, pair?: number, side?: number, row?: string, weight: number, said: string, preview?: string, image?: string}} Term
 */

export const ask = {
  show, written: () => (asked.terms.length ? queryOf(current()) : ""), take, focus: (/** @type {number} */ atom) => document.getElementById(`atom-${atom}-open`)?.focus(),
};

/** What is asked now; it stays while other views are shown. */
const asked = {
  /** @type {Term[]} */ terms: [],
  /** @type {Record<string, number>} */ coefficients: {},
  /** @type {string[] | null} */ ways: null,
  all: false,
  sae: "",
  /** @type {string[]} */ lost: [], // what an address asks for that there is not
};
/** @type {Map<string, Term>} Images that were asked since the page was opened, the latest last. */
const images = new Map();
const MOST_IMAGES = 20;
const IN_ADDRESS = ["text", "less", "pair", "image", "atoms", "ways"];
/** A slider is under the hand: the list of atoms stays as it is, neighbours and the number change. */
let sliding = false;
/** @type {AbortController | null} */
let running = null;
let wanted = false;
/** @type {any} */
let answer = null;
/** @type {Record<string, HTMLElement>} */
let places = {};

/** @param {HTMLElement} view */
function show(view) {
  const sae = saeNow();
  const why = state.about.trouble;
  const known = new Set(sae.ways.map((/** @type {any} */ way) => way.name));
  asked.ways = (asked.ways ?? sae.first_ways).filter((/** @type {string} */ way) => known.has(way));
  if (asked.sae !== state.sae) asked.coefficients = {};
  asked.sae = state.sae;
  answer = null;
  const words = el("input", { type: "search", id: "ask-text", placeholder: "a dog on the beach", autocomplete: "off", disabled: Boolean(why) });
  const file = el("input", { type: "file", id: "ask-file", accept: "image/*", class: "hidden", disabled: Boolean(why), onchange: () => file.files[0] && askImage(file.files[0]) });
  const form = el(
    "form",
    { class: "asking", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); askText(words.value); } },
    el("label", { class: "grow", text: "Words" }, words),
    el("button", { type: "submit", class: "main", text: "Ask", disabled: Boolean(why) }),
    el("label", { class: `button${why ? " off" : ""}`, for: "ask-file", text: "Choose an image …" }),
    file,
  );
  places = {
    terms: el("div", { class: "terms" }),
    start: el("section", { class: "start" }),
    answer: el("div", { class: "answer", hidden: true }),
  };
  view.append(
    form,
    el("p", { class: "trouble", id: "ask-lost", role: "status", hidden: !asked.lost.length, text: asked.lost.join(" ") }),
    el("p", { class: "quiet hint", text: why ? `${why}. Ask by one of the pairs below.` : `Or drop or paste an image anywhere, or click the ${rowsOf(0, 1)} or the ${rowsOf(1, 1)} of a pair.` }),
    places.terms,
    places.answer,
    places.start,
  );
  showStart();
  if (asked.terms.length) answerIt();
}

/** @param {string} words @param {Term[]} [others] Those that it is subtracted from. */
function askText(words, others = []) {
  const text = words.trim();
  const trouble = text ? troubleOf(text) : "There are no words to ask by; type some first.";
  content();
  if (trouble) complain(trouble);
  else begin([...others, { text, weight: others.length ? -1 : 1, said: text }], others.length ? asked.coefficients : {});
}

/** @param {string} text @returns {string} Why it cannot be asked; empty if it can. */
function troubleOf(text) {
  const [letters, most] = [[...text].length, state.about.limits.letters];
  return letters > most ? `A text has at most ${whole(most)} letters, and this one ${whole(letters)}; it is not asked.` : "";
}

/** @param {Blob} file */
export async function askImage(file) {
  content();
  try {
    const found = await call("image", { method: "POST", body: file });
    const image = Math.random().toString(36).slice(2, 10);
    const term = { ...found, weight: 1, said: "your image", preview: URL.createObjectURL(file), image };
    images.set(image, term);
    if (images.size > MOST_IMAGES) forget([...images.keys()][0]);
    begin([term]);
  } catch (error) {
    complain(error);
  }
}

/** @param {number} pair @param {number} side @param {string} caption */
function askPair(pair, side, caption) {
  begin([{ pair, side, weight: 1, said: caption }]);
  window.scrollTo({ top: 0 });
}

/** @param {string} image */
function forget(image) {
  URL.revokeObjectURL(images.get(image)?.preview ?? "");
  images.delete(image);
}

/** @param {Term[]} terms Another question: "back" leads to the one before. @param {Record<string, number>} [coefficients] Set already. */
function begin(terms, coefficients = {}) {
  Object.assign(asked, { terms, coefficients, all: false, lost: [] });
  location.hash = hashNow("ask");
  answerIt();
}

// ------------------------------------------------------------------ the address

/** What is asked, as the autoencoder of now can be: coefficients are those of one. */
const current = () => (asked.sae === state.sae ? asked : { ...asked, coefficients: {} });

/** @param {{terms: Term[], coefficients: Record<string, number>, ways: string[] | null}} question */
function queryOf({ terms, coefficients, ways }) {
  const values = new URLSearchParams();
  for (const term of terms) {
    if (term.image) values.append("image", term.image);
    else if (term.pair !== undefined) values.append("pair", `${term.pair}.${term.side}`);
    else values.append(term.weight < 0 ? "less" : "text", term.text ?? "");
  }
  const set = Object.entries(coefficients).map(([atom, value]) => `${atom}:${Number(value.toPrecision(6))}`);
  if (set.length) values.append("atoms", set.join(","));
  if (ways && String(ways) !== String(saeNow().first_ways)) values.append("ways", ways.join(","));
  return String(values).replaceAll("%3A", ":").replaceAll("%2C", ",");
}

/** @param {string} text The question of an address. @param {string} why What else is wrong there. @returns {boolean} Whether it is another. */
function take(text, why) {
  const values = new URLSearchParams(text);
  /** @type {string[]} */
  const lost = [...(why && text ? [why] : []), ...strangers(values, IN_ADDRESS)];
  const known = saeNow().ways.map((/** @type {any} */ way) => way.name);
  const ways = (values.get("ways") ?? "").split(",").filter(Boolean);
  const strange = ways.filter((way) => !known.includes(way));
  if (strange.length) lost.push(`There is no way ${strange.join(", ")} here.`);
  const terms = termsOf(values, lost);
  const given = {
    terms,
    coefficients: terms.length && !why ? coefficientsOf(values.get("atoms") ?? "", lost) : {},
    ways: text ? (ways.length > strange.length ? ways : null) : asked.ways,
  };
  if (queryOf(given) === queryOf(current()) && String(lost) === String(asked.lost)) return false;
  Object.assign(asked, given, { all: false, sae: state.sae, lost });
  return true;
}

/** @param {URLSearchParams} values @param {string[]} lost What cannot be asked is said there. @returns {Term[]} What is subtracted last. */
function termsOf(values, lost) {
  const most = state.about.limits.terms;
  const found = [...values].map(([name, value]) => termOf(name, value)).filter((term) => term !== null);
  lost.push(...found.filter((term) => typeof term === "string"));
  const terms = /** @type {Term[]} */ (found.filter((term) => typeof term !== "string")).sort((a, b) => b.weight - a.weight);
  if (terms.length > most) lost.push(`At most ${most} texts, images and pairs are asked together; these are the first ${most}.`);
  if (!terms.length || terms[0].weight > 0) return terms.slice(0, most);
  lost.push(`There is nothing that “${terms[0].said}” could be subtracted from.`);
  return [];
}

/** @param {string} name @param {string} given @returns {Term | string | null} null: it is none; a string: why it cannot be asked. */
function termOf(name, given) {
  const value = given.trim();
  if (name === "image") return images.get(value) ?? "The image that was asked is not in the address; choose it again.";
  if (name === "pair") return pairOf(value);
  if (name !== "text" && name !== "less") return null;
  if (!value) return "The address has a text without words.";
  return troubleOf(value) || { text: value, weight: name === "text" ? 1 : -1, said: value };
}

/** @param {string} value @returns {Term | string} */
function pairOf(value) {
  const [pair, side] = value.split(".").map(Number);
  if (/^\d{1,9}\.[01]$/.test(value) && pair < state.about.pairs) return { pair, side, weight: 1, said: "" };
  return `There is no pair ${value} here: an address has a number from 0 to ${state.about.pairs - 1}, and .0 behind it for the ${rowsOf(0, 1)} or .1 for the ${rowsOf(1, 1)}.`;
}

/** @param {string} text @param {string[]} lost @returns {Record<string, number>} By atom. */
function coefficientsOf(text, lost) {
  const { atoms } = saeNow();
  const most = state.about.limits.coefficient;
  const set = text.split(",").filter(Boolean);
  const fits = (/** @type {string} */ each) => /^\d{1,9}:[-+\d.e]+$/.test(each) && Number(each.split(":")[0]) < atoms && Math.abs(Number(each.split(":")[1])) <= most;
  const strange = set.filter((each) => !fits(each));
  if (strange.length) lost.push(`Atoms are not set as the address says (${strange.join(", ")}): it has a number from 0 to ${atoms - 1}, a colon, and a coefficient of at most ±${most}.`);
  return Object.fromEntries(set.filter(fits).map((each) => [each.split(":")[0], Number(each.split(":")[1])]));
}

/** Add an atom to what is asked, from anywhere on the page: half of the largest coefficient there. @param {number} atom */
export async function addAtom(atom) {
  if (asked.sae !== state.sae) Object.assign(asked, { coefficients: {}, sae: state.sae });
  try {
    const { atoms, whole: { scale } } = isAnswered() ? answer : await askServer(["original"], 1);
    const most = Math.max(0, ...atoms.map((/** @type {any} */ row) => Math.abs(row.found)));
    const before = asked.coefficients[atom] ?? atoms.find((/** @type {any} */ row) => row.atom === atom)?.found ?? 0;
    asked.coefficients[atom] = before + (most || scale) / 2;
  } catch (error) {
    complain(error);
  }
  answerIt();
}

/** Whether there is an answer to what is asked; coefficients may have been set since. */
const isAnswered = () => answer?.terms === asked.terms && answer.sae === state.sae;

/** @param {string[] | null} ways @param {number} count @param {AbortSignal} [signal] */
const askServer = (ways, count, signal) =>
  send("ask", { sae: state.sae, terms: asked.terms.map(({ said, preview, ...term }) => term), coefficients: asked.coefficients, ways, count }, "POST", signal);

export const isAsking = () => asked.terms.length > 0;

/** Ask for the latest; what was asked before and has not been answered is left. */
async function answerIt() {
  if (!places.terms?.isConnected) return;
  if (!sliding) rewrite();
  showTerms();
  if (running) {
    wanted = true;
    return;
  }
  running = new AbortController();
  const { terms } = asked;
  const { sae } = state;
  try {
    const now = await askServer(asked.ways, 24, running.signal);
    content();
    if (terms === asked.terms) {
      answer = { ...now, terms, sae };
      for (const term of terms) if (term.pair !== undefined) term.said = now.captions[term.pair];
      showTerms();
      showAnswer();
    }
  } catch (error) {
    complain(error);
  }
  running = null;
  if (wanted) {
    wanted = false;
    answerIt();
  }
}

function showTerms() {
  places.terms.replaceChildren();
  if (!asked.terms.length) return;
  places.start.hidden = true;
  for (const [number, term] of asked.terms.entries()) {
    const looks = term.preview ? el("img", { src: term.preview, alt: "your image" }) : term.pair !== undefined && term.side === 0 && thumbnail(term.pair, term.said);
    places.terms.append(
      el(
        "span",
        { class: `term side-${term.side ?? 1}` },
        number ? (term.weight < 0 ? "− " : "+ ") : "",
        looks || "",
        looks && term.preview ? "" : el("q", { text: term.said }),
        el("button", {
          type: "button", "aria-label": number ? `without ${term.said}` : "ask something else", text: "×",
          onclick: () => (number ? begin(asked.terms.filter((each) => each !== term), asked.coefficients) : clear()),
        }),
      ),
    );
  }
  places.terms.append(copyLink());
  if (asked.terms.some(({ image }) => image)) places.terms.append(el("span", { class: "quiet", text: "The link has no image of your own in it." }));
  if (!state.about.trouble && asked.terms.length < state.about.limits.terms) {
    const less = el("input", { type: "text", placeholder: "subtract a text", "aria-label": "subtract a text" });
    places.terms.append(
      el("form", {
        class: "less",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          askText(less.value, asked.terms);
        },
      }, less, el("button", { type: "submit", text: "− subtract" })),
    );
  }
}

function clear() {
  asked.terms = [];
  asked.coefficients = {};
  location.hash = hashNow("ask");
  places.terms.replaceChildren();
  places.answer.hidden = true;
  places.start.hidden = false;
  document.getElementById("ask-text")?.focus();
}

// ------------------------------------------------------------------ pairs to begin with

async function showStart() {
  const grid = el("ul", { class: "tiles", "aria-label": "pairs" });
  const search = el("input", { type: "search", id: "pair-search", autocomplete: "off", oninput: () => { clearTimeout(timer); timer = setTimeout(find, 200); } });
  let timer = 0;
  places.start.append(
    el("div", { class: "row" }, el("h2", { text: "Or begin with a pair" }), el("label", { class: "search", text: "Captions with the words" }, search)),
    grid,
  );
  const find = async () => {
    try {
      const { pairs, captions } = await query("pairs", { query: search.value, count: search.value.trim() ? 48 : 24 });
      grid.replaceChildren();
      if (!pairs.length) grid.append(el("li", { class: "quiet", text: "No caption has these words." }));
      for (const pair of pairs) grid.append(el("li", {}, pairTile(pair, captions[pair])));
    } catch (error) {
      complain(error);
    }
  };
  await find();
}

/** @param {number} pair @param {string} caption */
function pairTile(pair, caption) {
  const tile = el("div", { class: "tile both" });
  if (state.about.pictures) {
    tile.append(el("button", { type: "button", class: "looks", "aria-label": `ask by the image of: ${caption}`, onclick: () => askPair(pair, 0, caption) }, thumbnail(pair, caption)));
  } else {
    tile.append(el("button", { type: "button", class: "small", text: `by its ${rowsOf(0, 1)}`, onclick: () => askPair(pair, 0, caption) }));
  }
  tile.append(el("button", { type: "button", class: "said", title: `ask by this ${rowsOf(1, 1)}`, onclick: () => askPair(pair, 1, caption) }, el("span", { text: caption })));
  return tile;
}

// ------------------------------------------------------------------ the answer

function showAnswer() {
  places.answer.hidden = false;
  const open = document.activeElement?.id;
  if (!places.atoms?.isConnected) {
    places.atoms = el("section", { class: "made-of", "aria-labelledby": "made-of" });
    places.near = el("section", { class: "near", "aria-labelledby": "near" });
    places.answer.replaceChildren(places.atoms, places.near);
    beginMadeOf();
  }
  if (!sliding) showMadeOf();
  showNear();
  if (open && !sliding) document.getElementById(open)?.focus();
}

const CUT = 10;
const MOST_UNKNOWN = 5;

/** What stays while the list of atoms is drawn anew: what somebody types into it is not lost. */
function beginMadeOf() {
  const add = el("input", { type: "number", min: 0, max: saeNow().atoms - 1, placeholder: "an atom’s number", "aria-label": "number of an atom to add", id: "add-atom" });
  Object.assign(places, {
    cut: el("p", { class: "trouble", role: "status", hidden: true }),
    sum: el("p", { class: "quiet" }),
    list: el("ol", { class: "contributions" }),
    all: el("button", { type: "button", id: "all-atoms", onclick: () => { asked.all = !asked.all; showMadeOf(); } }),
    reset: el("button", { type: "button", id: "reset", text: "as it was", onclick: () => { asked.coefficients = {}; answerIt(); } }),
  });
  places.atoms.replaceChildren(
    el("h2", { id: "made-of", text: "What it is made of" }),
    places.cut,
    places.sum,
    el("p", { class: "legend" }, ...["bimodal", "image_only", "text_only"].map((kind) => el("span", { class: `key ${kind}`, text: className(kind) }))),
    places.list,
    places.all,
    el(
      "div", { class: "row" },
      el("button", { type: "button", id: "off-unimodal", text: "switch off what is not bimodal", onclick: () => {
        for (const row of answer.atoms) if (row.class !== "bimodal") asked.coefficients[row.atom] = 0;
        answerIt();
      } }),
      places.reset,
      el("form", { class: "less", onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        if (add.value === "") return;
        addAtom(Number(add.value));
        add.value = "";
      } }, add, el("button", { type: "submit", text: "+ add an atom" })),
    ),
  );
}

function showMadeOf() {
  const { atoms, whole: whole_ } = answer;
  const most = Math.max(...atoms.map((/** @type {any} */ row) => Math.max(Math.abs(row.found), Math.abs(row.coefficient))), 1e-9);
  const largest = Math.max(...atoms.map((/** @type {any} */ row) => Math.abs(row.share)), 1e-9);
  const parts = answer.cut.map((/** @type {any} */ cut) => `The encoder reads ${whole(cut.read)} of ${whole(cut.of)} letters, to “… ${[...cut.text].slice(0, cut.read).join("").slice(-30)}”; the rest is not asked.`);
  const unknown = answer.unknown.slice(0, MOST_UNKNOWN).map((/** @type {string} */ word) => `“${[...word].slice(0, 30).join("")}”`).join(", ");
  if (unknown) parts.push(`The encoder’s vocabulary does not hold ${unknown}${answer.unknown.length > MOST_UNKNOWN ? " and more" : ""}: it reads bytes there, and what is nearest says nothing of the word.`);
  places.cut.hidden = !parts.length;
  places.cut.textContent = parts.join(" ");
  const some = asked.all ? atoms : atoms.slice(0, CUT);
  const rebuilt = whole_.error === null ? "Nothing is left: what is asked cancels out. Add an atom to look for that alone. "
    : `${atoms.length} atoms rebuild ${percent(1 - whole_.error)} of it; ${percent(whole_.error)} is left over (cosine ${fixed(whole_.cosine)}). `;
  places.sum.textContent = rebuilt + "A bar is the share of it that an atom explains, the slider its coefficient: switch one off or move it, and the neighbours follow.";
  places.list.replaceChildren(...some.map((/** @type {any} */ row) => contribution(row, most, largest)));
  places.all.hidden = atoms.length <= CUT;
  places.all.textContent = asked.all ? "show fewer" : `show all ${atoms.length}`;
  /** @type {HTMLButtonElement} */ (places.reset).disabled = !Object.keys(asked.coefficients).length;
}

/** @param {number} share */
const saidShare = (share) =>
  `${percent(share)} of what is asked${share < 0 ? ": below 0, as this atom points away from it, and takes back what others have too much" : ""}`;

/** @param {any} row @param {number} most @param {number} largest */
function contribution(row, most, largest) {
  const id = `atom-${row.atom}`;
  const value = el("output", { class: "value", text: fixed(row.coefficient) });
  const slider = el("input", {
    type: "range", id: `${id}-slider`, min: Math.min(0, -most * (row.found < 0 || row.coefficient < 0 ? 1.5 : 0)), max: most * 1.5, step: most / 200,
    value: row.coefficient, "aria-label": `coefficient of ${nameOf(row)}, atom ${row.atom}`,
    oninput: () => { sliding = true; value.textContent = fixed(Number(slider.value)); asked.coefficients[row.atom] = Number(slider.value); askSoon(); },
    onchange: () => { sliding = false; askSoon(); },
  });
  const on = el("input", {
    type: "checkbox", id: `${id}-on`, checked: row.coefficient !== 0, "aria-label": `${nameOf(row)}, atom ${row.atom}, counts`,
    onchange: () => {
      if (!on.checked) asked.coefficients[row.atom] = 0;
      else if (row.found === 0) asked.coefficients[row.atom] = most / 2;
      else delete asked.coefficients[row.atom];
      answerIt();
    },
  });
  return el(
    "li", { class: `contribution ${row.class}${row.coefficient === row.found ? "" : " steered"}` },
    on,
    el("span", { class: "name" },
      el("a", { href: hashOf(state.sae, row.atom), id: `${id}-open`, text: nameOf(row) }),
      row.label ? el("span", { class: "quiet", text: ` ${row.atom}` }) : ""),
    el("span", { class: "bar", vars: { "--share": Math.abs(row.share) / largest }, title: saidShare(row.share) }, el("span", { class: "filled" })),
    el("span", { class: "quiet share", text: percent(row.share), title: saidShare(row.share) }),
    slider,
    value,
  );
}

let soon = 0;
function askSoon() {
  cancelAnimationFrame(soon);
  soon = requestAnimationFrame(answerIt);
}

function showNear() {
  const sae = saeNow();
  const chosen = asked.ways ?? [];
  const choice = el("details", { class: "ways", open: places.near.querySelector("details")?.open });
  choice.append(el("summary", { text: `Ways to close the gap: ${chosen.length} of ${sae.ways.length} side by side` }));
  const boxes = el("fieldset", {}, el("legend", { class: "hidden", text: "ways" }));
  for (const way of sae.ways) {
    boxes.append(
      el("label", { title: way.definition },
        el("input", { type: "checkbox", id: `way-${way.name}`, checked: chosen.includes(way.name), onchange: (/** @type {any} */ event) => {
          asked.ways = sae.ways.map((/** @type {any} */ each) => each.name).filter((/** @type {string} */ name) => (name === way.name ? event.target.checked : asked.ways?.includes(name)));
          if (!asked.ways.length) asked.ways = ["original"];
          answerIt();
        } }),
        ` ${way.title}`),
    );
  }
  choice.append(boxes);
  const columns = el("div", { class: "columns" });
  for (const way of sae.ways) if (answer.ways[way.name]) columns.append(wayColumn(way, answer.ways[way.name]));
  const parts = [
    el("h2", { id: "near", text: "Nearest images and captions, in one list".replace("images", rowsOf(0)).replace("captions", rowsOf(1)) }),
    el("p", { class: "quiet", text: `Both are looked among together. Where the gap is open, nearly all that is near is of one kind; where it is closed, both are mixed.` }),
    choice,
    columns,
  ];
  places.near.replaceChildren(...parts);
}

/** @param {any} way @param {any} found */
function wayColumn(way, found) {
  const column = el("article", { class: "way", "aria-label": way.title }, el("h3", { text: way.title }), el("p", { class: "definition quiet", text: way.definition, title: way.definition }));
  if (!found.neighbours.length) {
    column.append(el("p", { class: "quiet", text: `Nothing is left of what was asked${answer.whole.error === null ? "." : ": no atom that this way keeps is in it."}` }));
    return column;
  }
  const [images, texts] = found.mixed;
  column.append(
    el("p", { class: "mix quiet" },
      el("span", { class: "mixed", vars: { "--images": images, "--texts": texts }, "aria-hidden": "true" }, el("span", { class: "side-0" }), el("span", { class: "side-1" })),
      `${images} ${rowsOf(0, images)}, ${texts} ${rowsOf(1, texts)} among the ${images + texts} nearest`,
      found.partner !== null ? el("span", { class: "partner", text: `; its own ${rowsOf(1 - (asked.terms[0].side ?? 1), 1)} is number ${whole(found.partner + 1)} of its kind` }) : ""),
  );
  const tiles = el("ol", { class: "tiles" });
  for (const { pair, side, cosine } of found.neighbours) {
    const caption = answer.captions[pair];
    const own = asked.terms.length === 1 && asked.terms[0].pair === pair;
    tiles.append(
      el("li", {},
        el("button", { type: "button", class: `tile side-${side}${own ? " own" : ""}`, title: `${caption} (cosine ${fixed(cosine)})`,
          "aria-label": `${rowsOf(side, 1)}: ${caption}${own ? ", its own pair" : ""}`, onclick: () => askPair(pair, side, caption) },
          side === 0 ? looks(pair, caption) : el("span", { class: "words", text: caption }))),
    );
  }
  column.append(tiles);
  return column;
}

/** @param {number} pair @param {string} caption */
const looks = (pair, caption) =>
  state.about.pictures ? thumbnail(pair, caption) : el("span", { class: "words", text: `${rowsOf(0, 1)} of: ${caption}` });

// ------------------------------------------------------------------ images that are dropped or pasted

document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  if (file) askImage(file);
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
  if (file) askImage(file);
});
