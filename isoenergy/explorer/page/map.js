/** The dictionary as a map: a dot an atom, by class and energy; the bonds of the chosen one alone are drawn. */

import { complain, el, className, hashOf, nameOf, state, strip, whole } from "./parts.js";
import { query } from "./server.js";

const CLASSES = ["bimodal", "image_only", "text_only"];
const shownBy = { by: "umap", hidden: new Set() };

/** @param {HTMLElement} view */
export function showMap(view) {
  const canvas = el("canvas", { class: "map", tabindex: 0, role: "application", "aria-roledescription": "map of atoms", "aria-label": "map of atoms: arrow keys go to the next atom that way, Enter opens it" });
  const tip = el("div", { class: "tip", role: "status", "aria-live": "polite", hidden: true });
  const said = el("p", { class: "quiet", role: "status" });
  const by = el("select", { id: "map-by", onchange: () => { shownBy.by = by.value; load(); } },
    ...[["umap", "neighbourhood (UMAP)"], ["pca", "principal axes"]].map(([value, text]) => el("option", { value, text, selected: shownBy.by === value })));
  view.append(
    el("h2", { class: "hidden", text: "Map" }),
    el("div", { class: "choosing" }, el("label", { text: "Placed by" }, by),
      ...CLASSES.map((kind) => el("label", { class: "box" }, el("input", { type: "checkbox", id: `map-${kind}`, checked: !shownBy.hidden.has(kind), onchange: (/** @type {any} */ event) => {
        if (event.target.checked) shownBy.hidden.delete(kind);
        else shownBy.hidden.add(kind);
        draw();
      } }), " ", el("span", { class: `key ${kind}`, text: className(kind) })))),
    el("p", { class: "quiet", text: "A dot is an atom, its area the energy; near ones point the same way. Point at or tap one to see what fires it, and by lines what it is bound to in pairs; click it to open it." }),
    said,
    el("div", { class: "mapped" }, canvas, tip),
  );

  /** @type {any} */
  let found = null;
  let chosen = -1;
  /** @type {{atom: number, weight: number}[]} */
  let bonds = [];
  /** @type {[number, number][]} */
  let spots = [];
  /** @type {Map<number, number>} */
  let placeOf = new Map();

  async function load() {
    const mine = by.value;
    try {
      let now = await query("map", { sae: state.sae, by: mine });
      if (mine !== by.value || !canvas.isConnected) return;
      if (!now.places) {
        said.textContent = now.has_umap ? "UMAP is being computed; until then, principal axes." : `UMAP takes minutes for ${whole(now.atoms.length)} atoms; these are the principal axes.`;
        if (now.has_umap) setTimeout(() => canvas.isConnected && mine === by.value && load(), 1500);
        if (found) return;
        now = await query("map", { sae: state.sae, by: "pca" });
      } else said.textContent = "";
      found = now;
      placeOf = new Map(found.atoms.map((/** @type {number} */ atom, /** @type {number} */ place) => [atom, place]));
      select(-1);
    } catch (error) {
      complain(error);
    }
  }

  function draw() {
    if (!found || !canvas.isConnected) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const colour = Object.fromEntries([["bimodal", "--bimodal"], ["image_only", "--image"], ["text_only", "--text"], ["dead", "--line"]].map(([kind, name]) => [kind, style.getPropertyValue(name)]));
    const xs = found.places.map((/** @type {number[]} */ place) => place[0]);
    const ys = found.places.map((/** @type {number[]} */ place) => place[1]);
    const [left, right, low, high] = [low_(xs), high_(xs), low_(ys), high_(ys)];
    const margin = 16;
    spots = found.places.map((/** @type {number[]} */ [x, y]) => [
      margin + ((x - left) / (right - left || 1)) * (width - 2 * margin),
      margin + ((high - y) / (high - low || 1)) * (height - 2 * margin),
    ]);
    const most = Math.max(...found.energy);
    const size = (/** @type {number} */ place) => 1.6 + 11 * Math.sqrt(found.energy[place] / most);
    if (chosen >= 0) {
      const strongest = Math.max(...bonds.map(({ weight }) => Math.abs(weight)), 1e-12);
      for (const { atom, weight } of bonds) {
        const place = placeOf.get(atom);
        if (place === undefined) continue;
        pen.strokeStyle = style.getPropertyValue("--ink");
        pen.globalAlpha = 0.25 + (0.65 * Math.abs(weight)) / strongest;
        pen.lineWidth = 0.7 + (2.5 * Math.abs(weight)) / strongest;
        pen.beginPath();
        pen.moveTo(...spots[chosen]);
        pen.lineTo(...spots[place]);
        pen.stroke();
      }
    }
    pen.globalAlpha = 0.75;
    for (let place = 0; place < spots.length; place++) {
      if (shownBy.hidden.has(found.classes[place])) continue;
      pen.fillStyle = colour[found.classes[place]];
      pen.beginPath();
      pen.arc(spots[place][0], spots[place][1], size(place), 0, 2 * Math.PI);
      pen.fill();
    }
    pen.globalAlpha = 1;
    if (chosen >= 0) {
      pen.strokeStyle = style.getPropertyValue("--ink");
      pen.lineWidth = 2.5;
      pen.beginPath();
      pen.arc(spots[chosen][0], spots[chosen][1], size(chosen) + 3, 0, 2 * Math.PI);
      pen.stroke();
    }
    canvas.dataset.dots = String(spots.length);
  }

  let turn = 0;
  /** @param {number} place */
  async function select(place) {
    if (place === chosen && place >= 0) return;
    chosen = place;
    bonds = [];
    turn += 1;
    const mine = turn;
    tip.hidden = true;
    draw();
    if (place < 0) return;
    const atom = found.atoms[place];
    try {
      const [top, lines] = await Promise.all([query(`atoms/${atom}/top`, { sae: state.sae }), query(`atoms/${atom}/bonds`, { sae: state.sae })]);
      if (mine !== turn || !canvas.isConnected) return;
      bonds = lines;
      tip.replaceChildren(
        el("strong", { text: nameOf({ atom, label: found.labels[place] }) }), el("span", { class: "quiet", text: ` ${atom}, ${className(found.classes[place])}` }),
        strip(top.top, top.captions), el("span", { class: "quiet", text: top.captions[top.top[0]?.pair] ?? "" }),
      );
      tip.hidden = false;
      const [x, y] = spots[place];
      tip.style.left = `${Math.max(0, Math.min(x + 14, canvas.clientWidth - tip.offsetWidth))}px`;
      tip.style.top = `${y + 14 + tip.offsetHeight > canvas.clientHeight ? Math.max(0, y - 14 - tip.offsetHeight) : y + 14}px`;
      draw();
    } catch (error) {
      complain(error);
    }
  }

  /** @param {number} x @param {number} y @param {number} reach */
  function nearest(x, y, reach) {
    let best = -1;
    let least = reach * reach;
    for (let place = 0; place < spots.length; place++) {
      if (shownBy.hidden.has(found.classes[place])) continue;
      const far = (spots[place][0] - x) ** 2 + (spots[place][1] - y) ** 2;
      if (far < least) [best, least] = [place, far];
    }
    return best;
  }

  const open = () => chosen >= 0 && (location.hash = hashOf(state.sae, found.atoms[chosen]));
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => found && event.pointerType === "mouse" && select(nearest(event.offsetX, event.offsetY, 14)));
  canvas.addEventListener("pointerleave", () => document.activeElement !== canvas && select(-1));
  canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    if (!found) return;
    const place = nearest(event.offsetX, event.offsetY, 20);
    if (place < 0) select(-1);
    else if (place === chosen) open();
    else select(place);
  });
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (!found) return;
    if (event.key === "Enter") open();
    if (event.key === "Escape") select(-1);
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const from = chosen >= 0 ? spots[chosen] : [canvas.clientWidth / 2, canvas.clientHeight / 2];
    let best = -1;
    let least = Infinity;
    spots.forEach(([x, y], place) => {
      if (place === chosen || shownBy.hidden.has(found.classes[place])) return;
      const along = (x - from[0]) * way[0] + (y - from[1]) * way[1];
      const aside = Math.abs((x - from[0]) * way[1]) + Math.abs((y - from[1]) * way[0]);
      if (along > 0 && aside <= along && along + aside < least) [best, least] = [place, along + aside];
    });
    if (best >= 0) select(best);
  });
  const redraw = () => (canvas.isConnected ? draw() : window.removeEventListener("resize", redraw));
  window.addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  load();
}

/** @param {number[]} values */
const low_ = (values) => values.reduce((least, value) => Math.min(least, value), Infinity);
/** @param {number[]} values */
const high_ = (values) => values.reduce((most, value) => Math.max(most, value), -Infinity);
