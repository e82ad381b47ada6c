"use strict";
/**
 * The concept explorer. The page's data stand in script elements that no browser runs; they are inflated when the explorer
 * comes near, and a strip of thumbnails when its card does. Of what a search finds the first cards are there at once; the
 * others and all pictures follow when nothing has been typed for a moment. What is shown of an atom follows from the page's hash,
 * `#SAE/atom-12`, so that links and the back button work. Captions are untrusted: they only ever become text.
 *
 * @typedef {"image" | "text"} Modality
 *
 * @typedef {object} Sae The atoms of one autoencoder, the strongest first: a value an atom in each list.
 * @property {string} name
 * @property {string} label
 * @property {number[]} atom Their numbers.
 * @property {number[]} class Places in `Data.classes`.
 * @property {number[]} energy
 * @property {number[]} image_energy
 * @property {number[]} text_energy
 * @property {number[]} frequency
 * @property {number[]} modality_score 1: images, 0: captions.
 * @property {(number | null)[]} q_value Of equal energy; null: not tested.
 * @property {(number | null)[]} sharedness The smaller energy over the larger.
 * @property {(number | null)[]} sharedness_low
 * @property {(number | null)[]} sharedness_high
 * @property {(number | null)[]} correlation Of its two coefficients over pairs; null: a modality never fires it.
 * @property {(number | null)[]} correlation_low
 * @property {(number | null)[]} correlation_high
 * @property {(number | null)[]} lift How many times as often both fire as by chance.
 * @property {number[]} agrees 1: correlated beyond shuffled pairs, on the pairs that classes are fitted on.
 * @property {number[][]} image_captions Captions of the pairs whose image fires it most, as places in `Data.captions`.
 * @property {number[][]} text_captions Likewise for the pairs whose caption does.
 * @property {number[][]} image_values The coefficients of these pairs.
 * @property {number[][]} text_values
 * @property {number[][]} image_cells Where their pictures stand in the atom's strip; -1: there is none.
 * @property {number[][]} text_cells
 * @property {number[][]} image_histogram The first bin, then counts; empty if it never fires.
 * @property {number[][]} text_histogram
 * @property {number[][]} partners Numbers of atoms.
 * @property {number[][]} weights
 * @property {number[][]} atom_is_image 1: the atom is the image side of the bridge to this partner.
 * @property {([number, number] | null)[]} places Where they are on the map.
 *
 * @typedef {object} Data
 * @property {string[]} classes
 * @property {number} unequal_q
 * @property {number} bins_an_octave
 * @property {number} least_octave
 * @property {number} atoms_a_block
 * @property {string} measured_on Which pairs numbers are of, but for `agrees`.
 * @property {string[]} captions
 * @property {Sae[]} saes
 *
 * @typedef {object} Row One atom.
 * @property {Sae} sae
 * @property {number} at Its place in the lists of `sae`.
 * @property {number} block Its block of strips.
 *
 * @typedef {object} Holders The atoms that each caption is shown for: those of caption c stand from `starts[c]` to `starts[c + 1]`.
 * @property {Int32Array} starts
 * @property {Int32Array} rows Their places in `rows`.
 * @property {Float64Array} values The coefficients of these pairs.
 *
 * @typedef {object} Vocabulary The words of captions and what stands between them, in lower case, each once: a search passes over
 *     these few, and not over all captions.
 * @property {string[]} terms
 * @property {string} text All of them, a line each.
 * @property {Int32Array} lines Where each begins in it, and where one more would.
 * @property {Int32Array} starts Those that have term t stand from `starts[t]` to `starts[t + 1]`
 * @property {Int32Array} captions in this.
 * @property {Int32Array} sequence The terms of all captions, one caption after the other.
 * @property {number[]} ends Where each caption ends in it.
 *
 * @typedef {object} Matches How well each atom's captions answer a search.
 * @property {Uint8Array} rank 2: all words stand in one of its captions; 1: parts of its words are, each of a word of its own;
 *     0: neither. 3 is for atoms that are asked for by number.
 * @property {Float64Array} value The largest coefficient of a pair with such a caption.
 */
(() => {
  const ROWS_A_PAGE = 24;
  const ROWS_AT_ONCE = 6;
  const PAUSE = 60; // ms
  const CAPTIONS_A_CARD = 3;
  const MOST_WORDS = 31; // a bit each
  const SVG = "http://www.w3.org/2000/svg";
  const MODALITIES = /** @type {Modality[]} */ (["image", "text"]);

  /** @param {string} id */
  const part = (id) => /** @type {HTMLElement} */ (document.getElementById(`explorer-${id}`));
  const controls = /** @type {HTMLFormElement} */ (part("controls"));
  const query = /** @type {HTMLInputElement} */ (part("query"));
  const dialog = /** @type {HTMLDialogElement} */ (part("dialog"));
  const section = /** @type {HTMLElement} */ (document.getElementById("explorer"));
  const [list, count, direction] = ["list", "count", "direction"].map(part);

  /** @param {string} sentence Ours, of images and captions. @returns {string} It, of what the page's vectors are of. */
  const inTheirWords = (sentence) => {
    const { first, second } = section.dataset;
    if (first === "image") return sentence;
    const name = (/** @type {string} */ _, /** @type {string} */ word, /** @type {string} */ many) =>
      `${word.toLowerCase() === "image" ? first : second}${many ? " vectors" : ""}`;
    return sentence.replace(/\b(image|text|caption)(s?)\b/gi, name);
  };
  const CLASS_NAMES = {
    bimodal: "bimodal",
    image_only: inTheirWords("images only"),
    text_only: inTheirWords("captions only"),
    dead: "of no class", // fires in none of the pairs that classes are fitted on
  };
  const turns = /** @type {HTMLButtonElement[]} */ ([...section.querySelectorAll("[data-step]")]);

  /** @type {Data} */
  let data;
  /** @type {Promise<void> | undefined} That `data` are there, once they are asked for. */
  let started;
  /** @type {Row[]} */
  let rows = [];
  /** @type {Vocabulary} */
  let vocabulary;
  /** @type {Holders} */
  let holders;
  /** @type {string[]} What is searched for, in lower case. */
  let words = [];
  /** @type {Uint8Array} How well each caption answers it. */
  let ranks = new Uint8Array();
  /** @type {Row[]} What the controls leave, in order. */
  let found = [];
  let page = 0;
  /** @type {Row[]} Atoms of this page whose cards are still to come. */
  let waiting = [];
  let pictured = 0; // cards that have their pictures
  let timer = 0;
  /** @type {Map<number, string[]>} The strips of blocks that were looked at. */
  const strips = new Map();
  const inView = new IntersectionObserver(showPictures, { rootMargin: "300px" });
  /** @type {WeakMap<Element, Row>} */
  const rowOf = new WeakMap();

  // ---------------------------------------------------------------- data

  const start = () => (started ??= read());

  async function read() {
    const packed = Uint8Array.from(atob(part("data").textContent ?? ""), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = await new Response(stream).json();
    vocabulary = vocabularyOf(data.captions);
    let firstBlock = 0;
    for (const sae of data.saes) {
      for (let at = 0; at < sae.atom.length; at++) {
        rows.push({ sae, at, block: firstBlock + Math.floor(at / data.atoms_a_block) });
      }
      firstBlock += Math.ceil(sae.atom.length / data.atoms_a_block);
    }
    holders = holdersOf();
    search();
    showMap();
  }

  /** @param {(caption: number, row: number, value: number) => void} take Told of each caption of each atom. */
  function eachCaption(take) {
    rows.forEach(({ sae, at }, row) => {
      for (const [captions, values] of [
        [sae.image_captions[at], sae.image_values[at]],
        [sae.text_captions[at], sae.text_values[at]],
      ]) {
        captions.forEach((caption, rank) => take(caption, row, values[rank]));
      }
    });
  }

  /** @returns {Holders} */
  function holdersOf() {
    const starts = new Int32Array(data.captions.length + 1);
    eachCaption((caption) => starts[caption + 1]++);
    for (let caption = 0; caption < data.captions.length; caption++) starts[caption + 1] += starts[caption];
    const total = starts[data.captions.length];
    const made = { starts, rows: new Int32Array(total), values: new Float64Array(total) };
    const next = starts.slice();
    eachCaption((caption, row, value) => {
      const place = next[caption]++;
      made.rows[place] = row;
      made.values[place] = value;
    });
    return made;
  }

  /** @param {string} text @returns {string} That a minus before a word leaves nothing out; nothing to say of a search without one. */
  function minus(text) {
    const word = text.match(/(?:^|\s)[-−]([\p{L}\p{N}_]+)/u)?.[1];
    return word ? ` (a minus leaves nothing out here: “${word}” is looked for as the other words are)` : "";
  }

  /** @param {string} text @returns {string[]} Its words and what stands between them, in lower case. */
  const termsOf = (text) => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]+/gu) ?? [];

  /**
   * @param {string} text @returns {string[]} The different words that it searches for, the longest first, which are in the
   *     fewest terms: without punctuation, if it has any other.
   */
  function wordsOf(text) {
    const terms = [...new Set(termsOf(text))];
    const withLetters = terms.filter((term) => /[\p{L}\p{N}]/u.test(term));
    const chosen = withLetters.length ? withLetters : terms;
    return chosen.sort((a, b) => b.length - a.length).slice(0, MOST_WORDS);
  }

  /** @param {string[]} captions @returns {Vocabulary} */
  function vocabularyOf(captions) {
    /** @type {Map<string, number>} */
    const numbers = new Map();
    /** @type {number[]} */
    const inOrder = []; // the terms of all captions, one caption after the other
    const ends = captions.map((caption) => {
      for (const term of termsOf(caption)) {
        const number = numbers.get(term) ?? numbers.size;
        if (number === numbers.size) numbers.set(term, number);
        inOrder.push(number);
      }
      return inOrder.length;
    });
    const terms = [...numbers.keys()];
    const starts = new Int32Array(terms.length + 1);
    for (const number of inOrder) starts[number + 1]++;
    const lines = new Int32Array(terms.length + 1);
    terms.forEach((term, number) => {
      starts[number + 1] += starts[number];
      lines[number + 1] = lines[number] + term.length + 1;
    });
    const made = new Int32Array(inOrder.length);
    const next = starts.slice();
    let caption = 0;
    inOrder.forEach((number, place) => {
      while (ends[caption] <= place) caption++;
      made[next[number]++] = caption;
    });
    return { terms, text: terms.join("\n"), lines, starts, captions: made, sequence: Int32Array.from(inOrder), ends };
  }

  /** @param {Row} row @returns {string} An AVIF in base64; empty if there is none. */
  function stripOf(row) {
    let lines = strips.get(row.block);
    if (!lines) {
      lines = (document.getElementsByClassName("explorer-strips")[row.block].textContent ?? "").split("\n");
      strips.set(row.block, lines);
    }
    return lines[row.at % data.atoms_a_block];
  }

  /** @param {string} saeName @param {number} atom */
  const rowNamed = (saeName, atom) => rows.find(({ sae, at }) => sae.name === saeName && sae.atom[at] === atom);

  // ---------------------------------------------------------------- searching

  /** @param {string} name */
  const chosen = (name) => /** @type {HTMLSelectElement} */ (part(name)).value;

  /** @returns {(row: Row) => boolean} Whether an atom is the one that is asked for by number. */
  function isAskedFor() {
    const number = /^(?:atom[\s-]*|#)?(\d+)$/i.exec(query.value.trim());
    return number ? ({ sae, at }) => sae.atom[at] === Number(number[1]) : () => false;
  }

  /** @param {Row} row @returns {string} */
  function testResult({ sae, at }) {
    const q = sae.q_value[at];
    return q === null ? "untested" : q < data.unequal_q ? "rejected" : "kept";
  }

  /** @param {Row} row Whether its image and its text side mean one thing: it is bimodal, and they go together in pairs. */
  const sharesMeaning = ({ sae, at }) => data.classes[sae.class[at]] === "bimodal" && sae.agrees[at] === 1;

  /** @returns {Uint8Array} How well each caption answers: 2, all words stand in it; 1, parts of its words are; 0, neither. */
  function ranksOfCaptions() {
    const { terms, text, lines, starts, captions } = vocabulary;
    const found = new Uint8Array(data.captions.length).fill(2);
    const held = new Int32Array(terms.length); // which words stand in a term: a bit each
    for (const [bit, word] of words.entries()) {
      const own = new Uint8Array(found.length);
      let number = 0; // of the first term behind what was found
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, lines[number])) {
        while (lines[number] <= at) number++;
        held[number - 1] |= 1 << bit;
        const rank = terms[number - 1] === word ? 2 : 1;
        for (let place = starts[number - 1]; place < starts[number]; place++) {
          own[captions[place]] = Math.max(own[captions[place]], rank);
        }
      }
      for (let caption = 0; caption < found.length; caption++) found[caption] = Math.min(found[caption], own[caption]);
    }
    if (words.length > 1) {
      for (let caption = 0; caption < found.length; caption++) {
        if (found[caption] === 1 && !hasOneForEach(caption, held)) found[caption] = 0;
      }
    }
    return found;
  }

  /** @param {number} caption @param {Int32Array} held @returns {boolean} Whether each word has a term of its own there. */
  function hasOneForEach(caption, held) {
    const { sequence, ends } = vocabulary;
    /** @type {number[]} */
    const own = [];
    let alone = 0; // words that stand in a term without another
    for (let place = caption ? ends[caption - 1] : 0; place < ends[caption]; place++) {
      const bits = held[sequence[place]];
      if (!bits) continue;
      own.push(bits);
      if (!(bits & (bits - 1))) alone |= bits;
    }
    return alone === 2 ** words.length - 1 || (own.length >= words.length && areShared(own, 0));
  }

  /** @param {number[]} own The words of each term. @param {number} word From which on each gets one. @returns {boolean} */
  function areShared(own, word) {
    if (word === words.length) return true;
    for (let place = 0; place < own.length; place++) {
      const bits = own[place];
      if (!(bits & (1 << word))) continue;
      own[place] = 0;
      const found = areShared(own, word + 1);
      own[place] = bits;
      if (found) return true;
    }
    return false;
  }

  /** @param {string} text */
  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

  /** @returns {Matches} A value an atom, in the order of `rows`. */
  function matches() {
    const rank = new Uint8Array(rows.length);
    const value = new Float64Array(rows.length);
    ranks.forEach((own, caption) => {
      if (!own) return;
      for (let place = holders.starts[caption]; place < holders.starts[caption + 1]; place++) {
        const row = holders.rows[place];
        if (own < rank[row] || (own === rank[row] && holders.values[place] <= value[row])) continue;
        rank[row] = own;
        value[row] = holders.values[place];
      }
    });
    return { rank, value };
  }

  function search() {
    if (!data) return; // it searches once they are there
    words = wordsOf(query.value);
    ranks = words.length ? ranksOfCaptions() : new Uint8Array();
    const [sae, kind, meaning, test, key] = ["sae", "class", "meaning", "test", "sort"].map(chosen);
    const asked = isAskedFor();
    const keeps = (/** @type {Row} */ row) =>
      (!sae || row.sae.name === sae) &&
      (!kind || data.classes[row.sae.class[row.at]] === kind) &&
      (!meaning || sharesMeaning(row) === (meaning === "shared")) &&
      (!test || testResult(row) === test);
    const sign = direction.getAttribute("aria-pressed") === "true" ? -1 : 1;
    if (words.length) {
      const { rank, value } = matches();
      rows.forEach((row, place) => {
        if (asked(row)) rank[place] = 3;
      });
      const places = [...rows.keys()].filter((place) => rank[place] && keeps(rows[place]));
      places.sort((a, b) => rank[b] - rank[a] || value[b] - value[a]);
      found = places.map((place) => rows[place]);
    } else {
      const keyed = rows.filter(keeps).map((row) => ({ row, value: valueOf(row, key) }));
      keyed.sort((a, b) => compared(a.value, b.value, sign));
      found = keyed.map(({ row }) => row);
    }
    show(0);
  }

  /** @param {Row} row @param {string} key @returns {number | null} */
  function valueOf(row, key) {
    if (key === "agreement") return sharesMeaning(row) ? row.sae.correlation[row.at] : null;
    return /** @type {any} */ (row.sae)[key][row.at];
  }

  /** @param {string} caption @returns {HTMLElement} It, with the words that are searched for marked. */
  function marked(caption) {
    const holder = element("span");
    if (!words.length) {
      holder.append(caption);
      return holder;
    }
    const parts = caption.split(new RegExp(`(${words.map(escaped).join("|")})`, "giu"));
    parts.forEach((text, place) => text && holder.append(place % 2 ? element("mark", "", text) : text));
    return holder;
  }

  /** @param {number | null} a @param {number | null} b @param {number} sign Numbers that are not known come last. */
  function compared(a, b, sign) {
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return sign * (a - b);
  }

  // ---------------------------------------------------------------- the list

  /** @param {number} number The page to show. */
  function show(number) {
    page = number;
    const first = page * ROWS_A_PAGE;
    const shown = found.slice(first, first + ROWS_A_PAGE);
    inView.disconnect();
    waiting = shown.slice(ROWS_AT_ONCE);
    pictured = 0;
    list.replaceChildren(...shown.slice(0, ROWS_AT_ONCE).map(card));
    list.setAttribute("aria-busy", "true");
    clearTimeout(timer);
    timer = setTimeout(advance, PAUSE);
    count.textContent = `${found.length ? counted(first, shown.length) : "No atom matches."}${minus(query.value)}`;
    for (const button of turns) button.disabled = !hasPage(page + Number(button.dataset.step));
  }

  /** Give the cards that are there their pictures and add the next few, until all are there: a letter waits for few of them. */
  function advance() {
    clearTimeout(timer);
    for (const item of [...list.children].slice(pictured)) {
      const row = /** @type {Row} */ (rowOf.get(item));
      item.querySelector(".explorer-pictures")?.replaceWith(pictures(row, "image"));
      inView.observe(item);
    }
    pictured = list.children.length;
    list.append(...waiting.splice(0, ROWS_AT_ONCE).map(card));
    if (pictured < list.children.length) timer = setTimeout(advance);
    else list.setAttribute("aria-busy", "false");
  }

  function complete() {
    while (list.getAttribute("aria-busy") === "true") advance();
  }

  /** @param {number} first @param {number} shown */
  function counted(first, shown) {
    const sae = chosen("sae");
    const all = rows.filter((row) => !sae || row.sae.name === sae).length;
    const atoms = found.length < all ? `${whole(found.length)} of ${whole(all)} atoms` : `${whole(all)} atoms`;
    const some = shown < found.length ? `, ${whole(first + 1)}–${whole(first + shown)} shown` : "";
    return `${atoms}${some}${words.length && found.length > 1 ? ", the best match first" : ""}`;
  }

  /** @param {number} number */
  const hasPage = (number) => number >= 0 && number * ROWS_A_PAGE < found.length;

  /** @param {Row} row */
  function card(row) {
    const { sae, at } = row;
    const item = element("li", `card explorer-card ${data.classes[sae.class[at]]}`);
    const link = /** @type {HTMLAnchorElement} */ (element("a", "explorer-open", `atom ${sae.atom[at]}`));
    link.href = hashOf(sae.name, sae.atom[at]);
    const title = element("h3", "", link);
    if (!chosen("sae")) title.append(element("span", "quiet", ` ${sae.label}`));
    const numbers = element(
      "p",
      "quiet explorer-numbers",
      `agreement ${fixed(sae.correlation[at])} · energy ${brief(sae.energy[at])} · μ ${fixed(sae.modality_score[at])}`,
    );
    const span = interval(sae, at, "correlation");
    numbers.title = `agreement: ${agreement()}${span && `; 95% interval ${span}`}`;
    item.append(title, numbers, scale(sae.modality_score[at]));
    item.append(
      sae.image_captions[at].length
        ? blanks(sae.image_captions[at].length)
        : element("p", "quiet", inTheirWords("No image fires it.")),
    );
    item.append(
      sae.text_captions[at].length
        ? firstCaptions(row)
        : element("p", "quiet explorer-captions", inTheirWords("No caption fires it.")),
    );
    rowOf.set(item, row);
    return item;
  }

  const agreement = () => inTheirWords(`correlation of its coefficients in image and caption, over pairs: ${data.measured_on}`);

  /** @param {number} score @returns {HTMLElement} Where an atom stands between captions and images. */
  function scale(score) {
    const bar = element("span", "explorer-scale");
    bar.setAttribute("aria-hidden", "true");
    bar.style.setProperty("--score", String(score));
    return bar;
  }

  /** @param {IntersectionObserverEntry[]} entries */
  function showPictures(entries) {
    for (const { isIntersecting, target } of entries) {
      const row = rowOf.get(target);
      if (!isIntersecting || !row) continue;
      inView.unobserve(target);
      setStrip(/** @type {HTMLElement} */ (target), row);
    }
  }

  /** @param {HTMLElement} holder What the pictures are in. @param {Row} row */
  function setStrip(holder, row) {
    const strip = stripOf(row);
    if (!strip) return;
    const cells = MODALITIES.flatMap((modality) => row.sae[`${modality}_cells`][row.at]);
    for (const shown of /** @type {NodeListOf<HTMLElement>} */ (holder.querySelectorAll(".explorer-strip"))) {
      shown.style.backgroundImage = `url(data:image/avif;base64,${strip})`; // its pictures inherit it: one is read, not one each
      shown.style.setProperty("--gaps", String(Math.max(1, ...cells)));
    }
  }

  /** @param {number} count @returns {HTMLElement} The room of so many pictures. */
  function blanks(count) {
    const room = element("ul", "explorer-pictures");
    room.append(...Array.from({ length: count }, () => element("li")));
    return room;
  }

  /** @param {Row} row @param {Modality} modality @returns {HTMLElement} The strongest pairs as pictures. */
  function pictures({ sae, at }, modality) {
    const strip = element("ul", "explorer-pictures explorer-strip");
    sae[`${modality}_captions`][at].forEach((caption, rank) => {
      const picture = pictureOf(sae[`${modality}_cells`][at][rank], data.captions[caption]);
      picture.title = `${data.captions[caption]} (${brief(sae[`${modality}_values`][at][rank])})`;
      strip.append(element("li", "", picture));
    });
    return strip;
  }

  /** @param {number} cell @param {string} caption @returns {HTMLElement} A picture, or its caption if there is none. */
  function pictureOf(cell, caption) {
    if (cell < 0) return element("span", "explorer-words", caption);
    const picture = element("span", "explorer-picture");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", caption);
    picture.style.setProperty("--cell", String(cell));
    return picture;
  }

  /** @param {Row} row @returns {HTMLElement} The strongest captions, each once; first those that are searched for. */
  function firstCaptions({ sae, at }) {
    const items = element("ol", "explorer-captions");
    const sought = [...sae.text_captions[at], ...sae.image_captions[at]].filter((caption) => ranks[caption]);
    const different = [...new Set([...sought, ...sae.text_captions[at]])].slice(0, CAPTIONS_A_CARD);
    items.append(...different.map((caption) => element("li", "", marked(data.captions[caption]))));
    return items;
  }

  /** @param {Row} row @returns {HTMLElement} The strongest captions, with their pictures and coefficients. */
  function captions({ sae, at }) {
    const items = element("ol", "explorer-captions explorer-strip");
    sae.text_captions[at].forEach((caption, rank) => {
      const cell = sae.text_cells[at][rank];
      const picture = cell < 0 ? element("span") : pictureOf(cell, "");
      picture.setAttribute("aria-hidden", "true"); // the caption beside it says what it is
      const item = element("li", "", picture);
      const value = element("span", "quiet", brief(sae.text_values[at][rank]));
      item.append(marked(data.captions[caption]), value);
      items.append(item);
    });
    return items;
  }

  // ---------------------------------------------------------------- the map

  const mapped = /** @type {HTMLDetailsElement} */ (part("map"));
  const tip = /** @type {HTMLElement} */ (mapped.querySelector(".explorer-tip"));
  const canvas = /** @type {HTMLCanvasElement} */ (mapped.querySelector("canvas"));
  const map = atomMap(canvas, tip, new Set(), told, (place) => {
    const { sae, at } = onMap[place];
    go(hashOf(sae.name, sae.atom[at]));
  });
  /** @type {Row[]} The atoms on it. */
  let onMap = [];

  function showMap() {
    if (!data || !mapped.open) return;
    const name = chosen("sae") || data.saes[0].name;
    onMap = rows.filter(({ sae, at }) => sae.name === name && sae.places[at]);
    map.show({
      places: onMap.map(({ sae, at }) => /** @type {[number, number]} */ (sae.places[at])),
      energy: onMap.map(({ sae, at }) => sae.energy[at]),
      classes: onMap.map(({ sae, at }) => data.classes[sae.class[at]]),
    });
  }

  /** @param {number} place */
  async function told(place) {
    const { sae, at } = onMap[place];
    const places = new Map(onMap.map((row, other) => [row.sae.atom[row.at], other]));
    const bonds = sae.partners[at].map((atom, rank) => ({ place: places.get(atom) ?? -1, weight: sae.weights[at][rank] }));
    const shown = element("ul", "explorer-pictures explorer-strip");
    shown.append(...[...pictures(onMap[place], "image").children].slice(0, 3));
    const holder = element("div", "", shown);
    setStrip(holder, onMap[place]);
    const caption = [...sae.text_captions[at], ...sae.image_captions[at]][0];
    const kind = CLASS_NAMES[/** @type {keyof typeof CLASS_NAMES} */ (data.classes[sae.class[at]])];
    const nodes = [element("strong", "", `atom ${sae.atom[at]}`), ` ${kind}`, holder];
    if (caption !== undefined) nodes.push(element("span", "quiet", data.captions[caption]));
    return { bonds: bonds.filter((bond) => bond.place >= 0), nodes };
  }

  // ---------------------------------------------------------------- one atom

  /** @param {Row} row */
  function detail(row) {
    const { sae, at } = row;
    const kind = data.classes[sae.class[at]];
    const body = element("div", "explorer-detail");
    body.append(
      heading(sae, at, kind),
      facts(sae, at),
      element("p", "", verdict(sae, at)),
      element("h4", "", inTheirWords("Images that fire it most")),
      sae.image_captions[at].length ? pictures(row, "image") : element("p", "quiet", "None does."),
      element("h4", "", inTheirWords("Captions that fire it most")),
      sae.text_captions[at].length ? captions(row) : element("p", "quiet", "None does."),
      element("h4", "", "How strongly it fires"),
      histogram(sae, at, Math.min(dialog.clientWidth - 40, 680)),
      element("h4", "", "Partners in the other modality"),
      element(
        "p",
        "quiet",
        inTheirWords(
          "The atoms that fire in the caption when this one fires in the image, or the other way round (the Σ-bridge): the mean " +
            "product of both coefficients, times the atoms' cosine. Below 0, the two point away from each other.",
        ),
      ),
      partners(sae, at),
    );
    setStrip(body, row);
    return body;
  }

  /** @param {Sae} sae @param {number} at @param {string} kind */
  function heading(sae, at, kind) {
    const title = element("h3", "", `Atom ${sae.atom[at]}`);
    title.id = "explorer-title";
    title.tabIndex = -1;
    const place = found.findIndex((row) => row.sae === sae && row.at === at);
    const buttons = element("div", "explorer-buttons");
    for (const [sign, label, step] of /** @type {[string, string, number][]} */ ([
      ["←", "previous atom", -1],
      ["→", "next atom", 1],
    ])) {
      const button = closeOrMove(sign, label, () => move(step));
      button.disabled = place < 0 || !found[place + step];
      buttons.append(button);
    }
    buttons.append(closeOrMove("×", "close", () => dialog.close()));
    const header = element("header", "", title);
    header.append(
      element("span", `explorer-kind ${kind}`, CLASS_NAMES[/** @type {keyof typeof CLASS_NAMES} */ (kind)]),
      element("span", "quiet", sae.label),
      buttons,
    );
    return header;
  }

  /** @param {string} sign @param {string} label @param {() => void} act */
  function closeOrMove(sign, label, act) {
    const button = /** @type {HTMLButtonElement} */ (element("button", "", sign));
    button.type = "button";
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    return button;
  }

  /** @param {Sae} sae @param {number} at */
  function facts(sae, at) {
    const terms = element("dl", "explorer-facts");
    const lift = sae.lift[at];
    for (const [name, value, span, why] of [
      ["energy", brief(sae.energy[at])],
      [inTheirWords("energy in images"), brief(sae.image_energy[at])],
      [inTheirWords("energy in captions"), brief(sae.text_energy[at])],
      [inTheirWords("μ, share of images"), fixed(sae.modality_score[at])],
      ["fires in", `${brief(100 * sae.frequency[at])}% of all rows`],
      ["smaller over larger energy", fixed(sae.sharedness[at]), interval(sae, at, "sharedness")],
      [`agreement, of ${data.measured_on}`, fixed(sae.correlation[at]), interval(sae, at, "correlation"), agreement()],
      ["both fire", lift === null ? "–" : `${brief(lift)} times chance`],
      [
        "its sides go together",
        sae.agrees[at] ? "beyond shuffled pairs" : "not beyond shuffled pairs",
        "",
        "at a false discovery rate of 5%. The test is against shuffled pairs: of a rare atom their correlations lie closer to 0 than the interval of its own reaches, which may hold 0 all the same",
      ],
    ]) {
      const pair = element("div", "", element("dt", "quiet", name));
      if (why) pair.title = why;
      const told = element("dd", "", value);
      if (span) {
        const bounds = element("span", "bounds", ` ${span}`);
        bounds.title = "95% interval";
        told.append(bounds);
      }
      pair.append(told);
      terms.append(pair);
    }
    return terms;
  }

  /** @param {Sae} sae @param {number} at @param {"sharedness" | "correlation"} name @returns {string} Empty if none is known. */
  function interval(sae, at, name) {
    const [low, high] = [sae[`${name}_low`][at], sae[`${name}_high`][at]];
    return low === null || high === null ? "" : `[${fixed(low)}, ${fixed(high)}]`;
  }

  /** @param {Sae} sae @param {number} at @returns {string} What the test of equal energy says. */
  function verdict(sae, at) {
    const [image, text, q] = [sae.image_energy[at], sae.text_energy[at], sae.q_value[at]];
    const [stronger, weaker] = (image > text ? ["images", "captions"] : ["captions", "images"]).map(inTheirWords);
    const ratio = Math.max(image, text) / Math.min(image, text);
    const lies = !Number.isFinite(ratio)
      ? `only ${stronger} fire it`
      : ratio < 1.05
        ? "its two energies differ by less than 5%"
        : `its energy in ${stronger} is ${brief(ratio)} times that in ${weaker}`;
    if (q === null) return `Too few pairs fire it to test whether its energies are equal; here, ${lies}.`;
    const sure = q < 0.0001 ? "q < 0.0001" : `q = ${brief(q)}`;
    return `Equal energy is ${q < data.unequal_q ? "rejected" : "not rejected"} (${sure}); ${lies}.`;
  }

  /** @param {Sae} sae @param {number} at */
  function partners(sae, at) {
    if (!sae.partners[at].length) return element("p", "quiet", "It meets no other atom in a pair.");
    const items = element("ol", "explorer-partners");
    const most = Math.abs(sae.weights[at][0]);
    sae.partners[at].forEach((atom, rank) => {
      const other = rowNamed(sae.name, atom);
      const weight = sae.weights[at][rank];
      const link = /** @type {HTMLAnchorElement} */ (element("a", "", `atom ${atom}`));
      link.href = hashOf(sae.name, atom);
      const item = element("li", other ? data.classes[sae.class[other.at]] : "", link);
      const side = inTheirWords(sae.atom_is_image[at][rank] ? "this in the image, that in the caption" : "that in the image, this in the caption");
      item.append(element("span", "quiet", `${brief(weight)}, ${side}`), bar(Math.abs(weight) / most));
      const caption = other && [...sae.text_captions[other.at], ...sae.image_captions[other.at]][0];
      if (caption !== undefined) item.append(element("span", "explorer-hint", data.captions[caption]));
      items.append(item);
    });
    return items;
  }

  /** @param {number} share */
  function bar(share) {
    const filled = element("span", "explorer-weight");
    filled.setAttribute("aria-hidden", "true");
    filled.style.setProperty("--share", String(share));
    return filled;
  }

  // ---------------------------------------------------------------- the histogram

  /** @param {Sae} sae @param {number} at @param {number} width Images above, captions below; counts are logarithmic. */
  function histogram(sae, at, width) {
    const [left, top, half, foot] = [44, 8, 74, 30];
    const series = MODALITIES.map((modality) => {
      const [first, ...counts] = sae[`${modality}_histogram`][at];
      return { modality, first: first ?? 0, counts, total: counts.reduce((sum, n) => sum + n, 0) };
    });
    const filled = series.filter((one) => one.counts.length);
    const low = Math.min(...filled.map((one) => one.first)) - 1;
    const high = Math.max(...filled.map((one) => one.first + one.counts.length)) + 1;
    const most = Math.max(...filled.flatMap((one) => one.counts));
    const middle = top + half;
    const x = (/** @type {number} */ bin) => left + ((bin - low) / (high - low)) * (width - left - 8);
    const height = (/** @type {number} */ n) => (half * Math.log10(1 + n)) / Math.log10(1 + most);
    const svg = shape("svg", { viewBox: `0 0 ${width} ${middle + half + foot}`, class: "explorer-histogram", role: "img" });
    svg.setAttribute("aria-label", `Activations: ${series.map(said).join("; ")}`);
    for (const tick of decades(most)) {
      for (const y of [middle - height(tick), middle + height(tick)]) {
        svg.append(shape("line", { x1: left, x2: width - 8, y1: y, y2: y, class: "grid" }));
        svg.append(shape("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, whole(tick)));
      }
    }
    for (const { modality, first, counts } of filled) {
      counts.forEach((n, step) => {
        const tall = height(n);
        const y = modality === "image" ? middle - tall : middle;
        const wide = Math.max(1, x(1) - x(0) - 1);
        svg.append(shape("rect", { x: x(first + step), y, width: wide, height: tall, class: modality }));
      });
    }
    svg.append(shape("line", { x1: left, x2: width - 8, y1: middle, y2: middle, class: "axis" }));
    for (const [bin, label] of ticks(low, high, width < 420 ? 2 : 4)) {
      svg.append(shape("text", { x: x(bin), y: middle + half + 16, "text-anchor": "middle" }, label));
    }
    const figure = element("figure", "explorer-figure", svg);
    const legend = element("figcaption", "quiet");
    for (const one of series) legend.append(element("span", `explorer-key ${one.modality}`, said(one)));
    legend.append(element("span", "", "across: size of the coefficient; up and down: how many pairs, logarithmic"));
    figure.append(legend);
    return figure;
  }

  /** @param {{modality: Modality, total: number}} series */
  const said = ({ modality, total }) => `${whole(total)} ${inTheirWords(modality === "image" ? "images" : "captions")} fire it`;

  /** @param {number} most @returns {number[]} 1, 10, 100 … as far as there are so many. */
  function decades(most) {
    const found = [];
    for (let tick = 1; tick <= most; tick *= 10) found.push(tick);
    return found.length > 3 ? found.filter((_, place) => place % 2 === 0) : found;
  }

  /** @param {number} low @param {number} high @param {number} most @returns {[number, string][]} Bins at which a power of two begins. */
  function ticks(low, high, most) {
    const octaves = [];
    for (let bin = low; bin <= high; bin++) if (bin % data.bins_an_octave === 0) octaves.push(bin);
    const step = Math.ceil(octaves.length / (most + 1));
    return octaves
      .filter((_, place) => place % step === 0)
      .map((bin) => [bin, power.format(2 ** (data.least_octave + bin / data.bins_an_octave))]);
  }

  /** @param {string} name @param {Record<string, string | number>} attributes @param {string} [text] */
  function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // ---------------------------------------------------------------- the page's hash

  /** @param {string} saeName @param {number} atom */
  const hashOf = (saeName, atom) => `#${encodeURIComponent(saeName)}/atom-${atom}`;

  const ATOM = /^#([^/]+)\/atom-(\d+)$/;
  /** @type {HTMLAnchorElement | null} What opened the dialog. */
  let opener = null;

  /** What is shown: the page's hash, but for pages that may not change theirs, as in MLflow's artifact viewer. */
  let shownHash = "";

  /** @param {string} hash @param {"pushState" | "replaceState"} [how] */
  function go(hash, how = "pushState") {
    try {
      history[how](null, "", hash || location.href.split("#")[0]);
    } catch {
      // the browser lets a page without an address of its own change nothing of it
    }
    follow(hash);
  }

  /** @param {MouseEvent} event */
  function onLink(event) {
    const link = /** @type {Element} */ (event.target).closest?.("a[href^='#']");
    if (!link || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const hash = link.getAttribute("href") ?? "";
    if (!ATOM.test(hash)) return;
    event.preventDefault();
    if (!dialog.contains(link)) opener = link;
    go(hash);
  }

  /** @returns {{saeName: string, atom: number} | null} What the hash names. */
  function named() {
    const hash = ATOM.exec(shownHash);
    return hash && { saeName: decoded(hash[1]), atom: Number(hash[2]) };
  }

  /** @param {string} text */
  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a link that somebody broke
    }
  }

  /** @param {string} hash Show what it names, or nothing. */
  async function follow(hash) {
    shownHash = hash;
    const wanted = named();
    if (!wanted) {
      if (dialog.open) dialog.close();
      return;
    }
    if (!data) await start(); // what is shown already changes at once
    if (shownHash !== hash) return;
    if (!dialog.open) dialog.showModal();
    const row = rowNamed(wanted.saeName, wanted.atom);
    dialog.replaceChildren(row ? detail(row) : missing(wanted.atom, wanted.saeName));
    dialog.scrollTop = 0;
    part("title").focus();
  }

  /** @param {number} atom @param {string} saeName */
  function missing(atom, saeName) {
    const title = element("h3", "", `Atom ${atom}`);
    title.id = "explorer-title";
    title.tabIndex = -1;
    const header = element("header", "", title);
    header.append(element("div", "explorer-buttons", closeOrMove("×", "close", () => dialog.close())));
    const known = data.saes.some(({ name }) => name === saeName);
    const body = element("div", "explorer-detail", header);
    body.append(
      element("p", "", known ? `${saeName} has no atom of this number that fires.` : `This report has no autoencoder ${saeName}; it has:`),
    );
    if (!known) body.append(insteadOf(atom));
    return body;
  }

  /** @param {number} atom @returns {HTMLElement} The autoencoders that there are, with their atom of this number, or their strongest. */
  function insteadOf(atom) {
    const there = element("ul");
    for (const sae of data.saes.filter((each) => each.atom.length)) {
      const own = sae.atom.includes(atom) ? atom : sae.atom[0];
      const link = /** @type {HTMLAnchorElement} */ (element("a", "", `atom ${own}`));
      link.href = hashOf(sae.name, own);
      const item = element("li", "", link);
      item.append(` of ${sae.name}`, element("span", "quiet", ` ${sae.label}`));
      there.append(item);
    }
    return there;
  }

  /** @param {number} step To the atom so many places on in the list. */
  function move(step) {
    const wanted = named();
    const place = found.findIndex(({ sae, at }) => sae.name === wanted?.saeName && sae.atom[at] === wanted.atom);
    const row = place < 0 ? undefined : found[place + step];
    if (!row) return;
    go(hashOf(row.sae.name, row.sae.atom[row.at]), "replaceState");
  }

  /** Leave the hash behind, for the atom's card; the back button opens the atom again. */
  function closed() {
    const last = named();
    if (!last) return;
    go("");
    const hash = hashOf(last.saeName, last.atom);
    if (opener?.isConnected && opener.getAttribute("href") === hash) opener.focus();
    else backToCard(last.saeName, last.atom);
    opener = null;
  }

  /** @param {string} saeName @param {number} atom Turn to its card, without what hides it, and focus it. */
  function backToCard(saeName, atom) {
    if (!rowNamed(saeName, atom)) return;
    const place = () => found.findIndex(({ sae, at }) => sae.name === saeName && sae.atom[at] === atom);
    if (place() < 0) {
      controls.reset();
      /** @type {HTMLSelectElement} */ (part("sae")).value = saeName;
      search();
    }
    const number = place();
    if (Math.floor(number / ROWS_A_PAGE) !== page) show(Math.floor(number / ROWS_A_PAGE));
    focusCard(number % ROWS_A_PAGE);
  }

  // ---------------------------------------------------------------- keys

  /** @param {KeyboardEvent} event */
  function onListKey(event) {
    complete();
    const links = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".explorer-open")]);
    const place = links.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (place < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const tops = [...list.children].map((item) => /** @type {HTMLElement} */ (item).offsetTop);
    const columns = tops.filter((top) => top === tops[0]).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -place, End: links.length - 1 - place };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (step === undefined) return;
    event.preventDefault();
    const target = place + step;
    if (links[target]) links[target].focus();
    else if (target >= links.length && turn(1)) focusCard(0);
    else if (target < 0 && turn(-1)) focusCard(-1);
    else if (target < 0) query.focus();
  }

  /** @param {number} step @returns {boolean} Whether there is such a page. */
  function turn(step) {
    if (!hasPage(page + step)) return false;
    show(page + step);
    return true;
  }

  /** @param {number} place From the end if negative. */
  function focusCard(place) {
    complete();
    /** @type {HTMLElement | undefined} */ ([...list.querySelectorAll(".explorer-open")].at(place))?.focus();
  }

  /** @param {KeyboardEvent} event */
  function onDialogKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) move(step);
  }

  // ---------------------------------------------------------------- little things

  /** @param {string} tag @param {string} [className] @param {string | Node} [content] @returns {HTMLElement} */
  function element(tag, className = "", content = "") {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (content) made.append(content);
    return made;
  }

  const two = new Intl.NumberFormat("en", { minimumSignificantDigits: 2, maximumSignificantDigits: 2 });
  const power = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  /** @param {number} value */
  const brief = (value) => two.format(value).replace("-", "−");
  /** @param {number} value */
  const whole = (value) => value.toLocaleString("en");
  /** @param {number | null} value */
  const fixed = (value) => (value === null ? "–" : value.toFixed(2).replace(/^-0\.00$/, "0.00").replace("-", "−"));

  /** @param {HTMLElement} toggle */
  function reverse(toggle) {
    const falling = toggle.getAttribute("aria-pressed") !== "true";
    toggle.setAttribute("aria-pressed", String(falling));
    toggle.textContent = falling ? "↓" : "↑";
  }

  function listen() {
    query.addEventListener("input", search);
    query.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown") return;
      event.preventDefault();
      focusCard(0);
    });
    controls.addEventListener("change", (event) => event.target === query || search());
    controls.addEventListener("submit", (event) => {
      event.preventDefault();
      if (found.length) go(hashOf(found[0].sae.name, found[0].sae.atom[found[0].at]));
    });
    part("sae").addEventListener("change", showMap);
    mapped.addEventListener("toggle", showMap);
    direction.addEventListener("click", () => {
      reverse(direction);
      search();
    });
    for (const button of turns) {
      button.addEventListener("click", () => turn(Number(button.dataset.step)) && count.scrollIntoView({ block: "nearest" }));
    }
    list.addEventListener("keydown", onListKey);
    dialog.addEventListener("keydown", onDialogKey);
    dialog.addEventListener("close", closed);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.addEventListener("click", onLink);
    window.addEventListener("hashchange", () => follow(location.hash));
  }

  listen();
  part("body").hidden = false;
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    start();
  }, { rootMargin: "800px" }).observe(section);
  follow(location.hash);
})();
