/**
 * Ask by words, an image or a pair; see its atoms and its neighbours, and steer. The question stands in the address,
 * `#ask/SAE?text=…&less=…&atoms=12:0,33:0.4&ways=original,centred`, all but an image of one's own, which is known by a name
 * until the page is left.
 */

import { className, complain, content, copyLink, el, fixed, hashOf, named, nameOf, percent, rowsOf, saeNow, state, thumbnail, whole } from "./parts.js";
import { call, query, send } from "./server.js";

/**
 * @typedef {{text?: string, pair?: number, side?: number, row?: string, weight: number, said: string, preview?: string, image?: string}} Term
 */

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
export function showAsk(view) {
  const sae = saeNow();
  const known = new Set(sae.ways.map((/** @type {any} */ way) => way.name));
  asked.ways = (asked.ways ?? sae.first_ways).filter((/** @type {string} */ way) => known.has(way));
  if (asked.sae !== state.sae) asked.coefficients = {};
  asked.sae = state.sae;
  answer = null;
  const words = el("input", { type: "search", id: "ask-text", placeholder: "a dog on the beach", autocomplete: "off", maxlength: 2000 });
  const file = el("input", { type: "file", id: "ask-file", accept: "image/*", class: "hidden", onchange: () => file.files[0] && askImage(file.files[0]) });
  const form = el(
    "form",
    { class: "asking", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); askText(words.value); } },
    el("label", { class: "grow", text: "Words" }, words),
    el("button", { type: "submit", class: "main", text: "Ask" }),
    el("label", { class: "button", for: "ask-file", text: "Choose an image …" }),
    file,
  );
  places = {
    terms: el("div", { class: "terms" }),
    start: el("section", { class: "start" }),
    answer: el("div", { class: "answer", hidden: true }),
  };
  const why = state.about.trouble;
  view.append(
    form,
    el("p", { class: "trouble", id: "ask-lost", role: "status", hidden: !asked.lost.length, text: asked.lost.join(" ") }),
    el("p", { class: "quiet hint", text: why ? `${why}. Ask by one of the pairs below.` : `Or drop or paste an image anywhere, or click the ${rowsOf(0, 1)} or the ${rowsOf(1, 1)} of a pair.` }),
    places.terms,
    places.answer,
    places.start,
  );
  showStart();
  if (asked.terms.length) ask();
}

/** @param {string} text */
function askText(text) {
  if (!text.trim()) return;
  begin([{ text: text.trim(), weight: 1, said: text.trim() }]);
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

/** @param {Term[]} terms Another question: "back" leads to the one before. */
function begin(terms) {
  Object.assign(asked, { terms, coefficients: {}, all: false, lost: [] });
  location.hash = askHash();
  ask();
}

// ------------------------------------------------------------------ the address

/** @param {{terms: Term[], coefficients: Record<string, number>, ways: string[] | null}} question */
function written({ terms, coefficients, ways }) {
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

/** @param {string} [atom] One that is opened. @returns {string} The hash of what is asked. */
export function askHash(atom) {
  const path = ["#ask", encodeURIComponent(state.sae), ...(atom ? [encodeURIComponent(atom)] : [])].join("/");
  if (asked.terms.length) return `${path}?${written(asked)}`;
  return atom ? path : "#ask";
}

/** Write what is asked into the address. @param {"pushState" | "replaceState"} how @param {string} [atom] One that is opened. */
export function address(how, atom) {
  const hash = askHash(atom);
  if (hash !== (location.hash || "#ask")) history[how](null, "", hash);
  document.querySelector("#views a[data-view=ask]")?.setAttribute("href", askHash());
}

/** @param {string} text The question of an address. @param {string} why What else is wrong there. @returns {boolean} Whether it is another. */
export function takeQuestion(text, why) {
  const values = new URLSearchParams(text);
  const lost = why && text ? [why] : [];
  const known = saeNow().ways.map((/** @type {any} */ way) => way.name);
  const ways = (values.get("ways") ?? "").split(",").filter(Boolean);
  const strange = ways.filter((way) => !known.includes(way));
  if (strange.length) lost.push(`There is no way ${strange.join(", ")} here.`);
  const terms = [...values].map(([name, value]) => termOf(name, value)).filter((term) => term !== null);
  const isGone = terms.includes(undefined);
  if (isGone) lost.push("The image that was asked is not in the address; choose it again.");
  const set = isGone || why ? [] : (values.get("atoms") ?? "").split(",").filter(Boolean).map((each) => each.split(":"));
  const given = {
    terms: /** @type {Term[]} */ (isGone ? [] : terms),
    coefficients: Object.fromEntries(set.map(([atom, value]) => [atom, Number(value)])),
    ways: text ? (ways.length > strange.length ? ways : null) : asked.ways,
  };
  if (written(given) === written(asked) && !lost.length) return false;
  Object.assign(asked, given, { all: false, sae: state.sae, lost });
  return true;
}

/** @param {string} name @param {string} value @returns {Term | null | undefined} null: it is none; undefined: it is gone. */
function termOf(name, value) {
  if (name === "image") return images.get(value);
  if (name === "text" || name === "less") return { text: value, weight: name === "text" ? 1 : -1, said: value };
  if (name !== "pair") return null;
  const [pair, side] = value.split(".").map(Number);
  return { pair, side, weight: 1, said: "" };
}

/** Steer by an atom from elsewhere on the page. @param {number} atom @param {number} value */
export function addAtom(atom, value) {
  asked.coefficients[atom] = value;
  ask();
}

export const isAsking = () => asked.terms.length > 0;

/** Ask for the latest; what was asked before and has not been answered is left. */
async function ask() {
  if (!places.terms?.isConnected) return;
  if (!sliding) address("replaceState", named().atom);
  showTerms();
  if (running) {
    wanted = true;
    return;
  }
  running = new AbortController();
  const { terms, coefficients, ways } = asked;
  try {
    const body = { sae: state.sae, terms: terms.map(({ said, preview, ...term }) => term), coefficients, ways, count: 24 };
    const found = await send("ask", body, "POST", running.signal);
    content();
    if (terms === asked.terms) {
      answer = found;
      for (const term of terms) if (term.pair !== undefined) term.said = found.captions[term.pair];
      showTerms();
      showAnswer();
    }
  } catch (error) {
    complain(error);
  }
  running = null;
  if (wanted) {
    wanted = false;
    ask();
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
        number ? "− " : "",
        looks || "",
        looks && term.preview ? "" : el("q", { text: term.said }),
        el("button", {
          type: "button", "aria-label": number ? `do not subtract ${term.said}` : "ask something else", text: "×",
          onclick: () => {
            if (number) {
              begin(asked.terms.filter((each) => each !== term));
            } else clear();
          },
        }),
      ),
    );
  }
  places.terms.append(copyLink());
  if (asked.terms.some(({ image }) => image)) places.terms.append(el("span", { class: "quiet", text: "The link has no image of your own in it." }));
  if (!state.about.trouble && asked.terms.length < 4) {
    const less = el("input", { type: "text", placeholder: "subtract a text", "aria-label": "subtract a text", maxlength: 2000 });
    places.terms.append(
      el("form", {
        class: "less",
        onsubmit: (/** @type {Event} */ event) => {
          event.preventDefault();
          if (!less.value.trim()) return;
          begin([...asked.terms, { text: less.value.trim(), weight: -1, said: less.value.trim() }]);
        },
      }, less, el("button", { type: "submit", text: "− subtract" })),
    );
  }
}

function clear() {
  asked.terms = [];
  asked.coefficients = {};
  location.hash = askHash();
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

/** What stays while the list of atoms is drawn anew: what somebody types into it is not lost. */
function beginMadeOf() {
  const add = el("input", { type: "number", min: 0, max: saeNow().atoms - 1, placeholder: "an atom’s number", "aria-label": "number of an atom to add", id: "add-atom" });
  Object.assign(places, {
    cut: el("p", { class: "trouble", role: "status", hidden: true }),
    sum: el("p", { class: "quiet" }),
    list: el("ol", { class: "contributions" }),
    all: el("button", { type: "button", id: "all-atoms", onclick: () => { asked.all = !asked.all; showMadeOf(); } }),
    reset: el("button", { type: "button", id: "reset", text: "as it was", onclick: () => { asked.coefficients = {}; ask(); } }),
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
        ask();
      } }),
      places.reset,
      el("form", { class: "less", onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        if (add.value === "") return;
        addAtom(Number(add.value), Math.max(...answer.atoms.map((/** @type {any} */ row) => Math.abs(row.found))) / 2);
        add.value = "";
      } }, add, el("button", { type: "submit", text: "+ add an atom" })),
    ),
  );
}

function showMadeOf() {
  const { atoms, whole: whole_ } = answer;
  const most = Math.max(...atoms.map((/** @type {any} */ row) => Math.max(Math.abs(row.found), Math.abs(row.coefficient))), 1e-9);
  const largest = Math.max(...atoms.map((/** @type {any} */ row) => Math.abs(row.share)), 1e-9);
  places.cut.hidden = !answer.cut.length;
  places.cut.textContent = answer.cut.map((/** @type {any} */ cut) => `The encoder reads ${whole(cut.read)} of ${whole(cut.of)} letters, to “… ${[...cut.text].slice(0, cut.read).join("").slice(-30)}”; the rest is not asked.`).join(" ");
  const some = asked.all ? atoms : atoms.slice(0, CUT);
  places.sum.textContent = `${atoms.length} atoms rebuild ${percent(1 - whole_.error)} of it; ${percent(whole_.error)} is left over (cosine ${fixed(whole_.cosine)}). ` +
    "A bar is the share of it that an atom explains, the slider its coefficient: switch one off or move it, and the neighbours follow.";
  places.list.replaceChildren(...some.map((/** @type {any} */ row) => contribution(row, most, largest)));
  places.all.hidden = atoms.length <= CUT;
  places.all.textContent = asked.all ? "show fewer" : `show all ${atoms.length}`;
  /** @type {HTMLButtonElement} */ (places.reset).disabled = !Object.keys(asked.coefficients).length;
}

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
      ask();
    },
  });
  return el(
    "li", { class: `contribution ${row.class}${row.coefficient === row.found ? "" : " steered"}` },
    on,
    el("span", { class: "name" },
      el("a", { href: hashOf(state.sae, row.atom), id: `${id}-open`, text: nameOf(row) }),
      row.label ? el("span", { class: "quiet", text: ` ${row.atom}` }) : ""),
    el("span", { class: "bar", vars: { "--share": Math.abs(row.share) / largest }, title: `${percent(row.share)} of what is asked` }, el("span", { class: "filled" })),
    el("span", { class: "quiet share", text: percent(row.share) }),
    slider,
    value,
  );
}

let soon = 0;
function askSoon() {
  cancelAnimationFrame(soon);
  soon = requestAnimationFrame(ask);
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
          ask();
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
    column.append(el("p", { class: "quiet", text: "Nothing is left of what was asked: no atom that this way keeps is in it." }));
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
