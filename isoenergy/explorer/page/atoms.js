/** All atoms: searched, filtered and sorted by the server, which sends those that are near; the page holds no others. */

import { choices, hashOf, rewrite } from "./address.js";
import { agreement, around, brief, chip, className, complain, el, fixed, interval, marked, minus, nameOf, state, strip, whole } from "./parts.js";
import { query } from "./server.js";

const A_PAGE = 60;
const CARD_WIDTH = 296;
const CARD_HEIGHT = 182;
const GAP = 12;

const { now: chosen, written, take } = choices(
  { query: "", class: "", shared: "", noted: "", sort: "agreement", rising: "" },
  {
    class: { called: "class", of: ["", "bimodal", "image_only", "text_only"] },
    sort: { called: "sorting by", of: ["agreement", "energy", "modality_score", "frequency", "atom"] },
    ...Object.fromEntries(["shared", "noted", "rising"].map((name) => [name, { called: `${name} of`, of: ["", "1"] }])),
  },
);
export const atoms = { show, written, take, focus: (/** @type {number} */ atom) => focusCard(atom) };
/** @type {(atom: number) => void} */
let focusCard = () => {};

/** @param {HTMLElement} view */
function show(view) {
  const count = el("p", { class: "quiet", id: "atom-count", role: "status", "aria-live": "polite" });
  const list = el("ul", { class: "cards", "aria-label": "atoms" });
  const field = (/** @type {string} */ text, /** @type {HTMLElement} */ control) => el("label", { text }, control);
  const select = (/** @type {"class" | "sort"} */ name, /** @type {[string, string][]} */ options, title = "") =>
    el("select", { id: `atoms-${name}`, title, onchange: (/** @type {any} */ event) => { chosen[name] = event.target.value; renew(); } },
      ...options.map(([value, text]) => el("option", { value, text, selected: chosen[name] === value })));
  const box = (/** @type {"shared" | "noted"} */ name, /** @type {string} */ text, /** @type {string} */ title) =>
    el("label", { class: "box", title }, el("input", { type: "checkbox", id: `atoms-${name}`, checked: chosen[name] === "1", onchange: (/** @type {any} */ event) => { chosen[name] = event.target.checked ? "1" : ""; renew(); } }), ` ${text}`);
  const sortHelp = `agreement: ${agreement()}; sorted by the lower end of its 95% interval, “from …” on a card, so that rare atoms do not lead by luck`;
  let timer = 0;
  view.append(
    el("h2", { class: "hidden", text: "Atoms" }),
    el("form", { class: "choosing", role: "search", onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); openFirst(); } },
      el("label", { class: "grow", text: "Words of captions, or a number" },
        el("input", { type: "search", id: "atoms-query", value: chosen.query, autocomplete: "off", spellcheck: "false",
          oninput: (/** @type {any} */ event) => { chosen.query = event.target.value; clearTimeout(timer); timer = setTimeout(renew, 60); },
          onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "ArrowDown") { event.preventDefault(); focusOn(0); } } })),
      field("Class", select("class", [["", "all"], ["bimodal", "bimodal"], ["image_only", className("image_only")], ["text_only", className("text_only")]])),
      field("Sort by", select("sort", [["agreement", "agreement, from"], ["energy", "energy"], ["modality_score", "modality score μ"], ["frequency", "frequency"], ["atom", "number"]],
        sortHelp)),
      el("button", { type: "button", id: "atoms-falling", "aria-pressed": String(!chosen.rising), "aria-label": "largest first", text: chosen.rising ? "↑" : "↓",
        onclick: (/** @type {any} */ event) => {
          chosen.rising = chosen.rising ? "" : "1";
          event.target.textContent = chosen.rising ? "↑" : "↓";
          event.target.setAttribute("aria-pressed", String(!chosen.rising));
          renew();
        } }),
      box("shared", "shared in meaning", "only bimodal atoms that images and captions of the same pairs fire together, beyond chance"),
      box("noted", "with a note", "only atoms with a note"),
    ),
    count,
    list,
  );

  /** @type {Map<number, any>} */
  let rows = new Map();
  /** @type {Set<number>} */
  let asked = new Set();
  let total = 0;
  let turn = 0;
  /** @type {Map<number, HTMLElement>} */
  let cards = new Map();

  async function renew() {
    turn += 1;
    rewrite();
    for (const [id, help] of [["atoms-sort", sortHelp], ["atoms-falling", ""]]) {
      const control = /** @type {HTMLSelectElement | HTMLButtonElement} */ (document.getElementById(id));
      control.disabled = chosen.query.trim() !== "";
      control.title = control.disabled ? "what a search finds is sorted by how well it fits" : help;
    }
    rows = new Map();
    asked = new Set();
    cards = new Map();
    list.replaceChildren();
    await load(0);
  }

  const wanted = () => ({
    sae: state.sae, query: chosen.query, class: chosen.class, shared: chosen.shared, noted: chosen.noted, sort: chosen.sort, falling: chosen.rising ? 0 : 1,
  });

  focusCard = async (atom) => {
    try {
      const { place } = await query("atoms", { ...wanted(), count: 0, place: atom });
      if (place === null || !list.isConnected) return;
      await load(Math.floor(place / A_PAGE));
      focusOn(place);
    } catch (error) {
      complain(error);
    }
  };

  /** @param {number} page */
  async function load(page) {
    if (asked.has(page)) return;
    asked.add(page);
    const mine = turn;
    try {
      const found = await query("atoms", { ...wanted(), first: page * A_PAGE, count: A_PAGE });
      if (mine !== turn || !list.isConnected) return;
      total = found.count;
      found.rows.forEach((/** @type {any} */ row, /** @type {number} */ place) => rows.set(found.first + place, { ...row, captions: found.captions }));
      const counted = total ? `${whole(total)} ${total === 1 ? "atom" : "atoms"}${total > 1 && chosen.query.trim() ? ", the best match first" : ""}` : "No atom matches.";
      count.textContent = `${counted}${minus(chosen.query)}`;
      draw();
    } catch (error) {
      asked.delete(page);
      complain(error);
    }
  }

  const columns = () => Math.max(1, Math.floor((list.clientWidth + GAP) / (CARD_WIDTH + GAP)));

  function draw() {
    const across = columns();
    const width = (list.clientWidth - GAP * (across - 1)) / across;
    list.style.height = `${Math.ceil(total / across) * (CARD_HEIGHT + GAP)}px`;
    const top = list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor((-top - 400) / (CARD_HEIGHT + GAP)) * across);
    const last = Math.min(total, Math.ceil((window.innerHeight - top + 400) / (CARD_HEIGHT + GAP)) * across);
    const focused = document.activeElement?.closest?.(".card");
    for (const [place, card] of cards) {
      if ((place < first || place >= last) && card !== focused) {
        card.remove();
        cards.delete(place);
      }
    }
    for (let place = first; place < last; place++) {
      const row = rows.get(place);
      if (!row) {
        load(Math.floor(place / A_PAGE));
        continue;
      }
      let made = cards.get(place);
      if (!made) {
        made = card(row, place);
        cards.set(place, made);
        const after = [...list.children].find((other) => Number(other.dataset.place) > place);
        list.insertBefore(made, after ?? null);
      }
      made.style.width = `${width}px`;
      made.style.transform = `translate(${(place % across) * (width + GAP)}px, ${Math.floor(place / across) * (CARD_HEIGHT + GAP)}px)`;
    }
  }

  /** @param {any} row @param {number} place */
  function card(row, place) {
    return el("li", { class: `card ${row.class}`, "data-place": place, "aria-posinset": place + 1, "aria-setsize": total },
      el("h3", {}, el("a", { href: hashOf(state.sae, row.atom) }, ...marked(nameOf(row), row.label ? chosen.query : "")), row.label ? el("span", { class: "quiet", text: ` ${row.atom}` }) : ""),
      el("p", { class: "numbers" }, chip(row.class),
        el("span", { class: "agreement", text: `agreement ${fixed(row.correlation)}${row.agrees ? " ✓" : ""}${from(row)}`, title: `${agreement()}; ✓: beyond shuffled pairs${row.correlation === null ? "" : `; 95% interval ${interval(row)}`}` })),
      el("p", { class: "numbers" }, el("span", { text: `energy ${brief(row.energy)}` }), el("span", { text: `μ ${fixed(row.modality_score)}` })),
      el("span", { class: "scale", vars: { "--score": row.modality_score ?? 0.5 }, title: `modality score ${fixed(row.modality_score)}: 0 captions, 1 images` }),
      strip(row.top, row.captions),
      el("p", { class: "note quiet" }, ...said(row)),
    );
  }

  /** @param {any} row What its place in the list is by, where that is not told already. */
  const from = (row) => (chosen.sort === "agreement" && !chosen.query.trim() && row.correlation_low !== null ? `, from ${fixed(row.correlation_low)}` : "");

  /** @param {any} row What stands below its pictures: the caption that answers the search, the note, or a caption. */
  function said(row) {
    if (row.answer !== null) return marked(around(row.captions[row.answer], chosen.query), chosen.query);
    return [row.note ? `✎ ${row.note}` : (row.captions[row.top[0]?.pair] ?? "")];
  }

  /** @param {number} place */
  function focusOn(place) {
    if (place < 0 || place >= total) return;
    const height = Math.floor(place / columns()) * (CARD_HEIGHT + GAP);
    const top = list.getBoundingClientRect().top + window.scrollY + height;
    if (top < window.scrollY + 80 || top + CARD_HEIGHT > window.scrollY + window.innerHeight) window.scrollTo({ top: Math.max(0, top - window.innerHeight / 3) });
    draw();
    const link = cards.get(place)?.querySelector("a");
    if (link) link.focus({ preventScroll: true });
  }

  function openFirst() {
    const row = rows.get(0);
    if (row) location.hash = hashOf(state.sae, row.atom);
  }

  list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const own = /** @type {HTMLElement | null} */ (document.activeElement?.closest(".card"));
    if (!own || event.altKey || event.ctrlKey || event.metaKey) return;
    const place = Number(own.dataset.place);
    const across = columns();
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -place, End: total - 1 - place }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    if (place + step < 0) document.getElementById("atoms-query")?.focus();
    else focusOn(place + step);
  });

  let frame = 0;
  const later = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      if (list.isConnected) draw();
      else {
        window.removeEventListener("scroll", later);
        window.removeEventListener("resize", later);
      }
    });
  };
  window.addEventListener("scroll", later, { passive: true });
  window.addEventListener("resize", later);
  renew();
}
