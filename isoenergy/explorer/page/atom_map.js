/**
 * The dictionary as a map, of the live explorer and of the report: a dot an atom, by class and energy, and the bonds of
 * the chosen one alone. It knows neither where dots come from nor what is said of one.
 *
 * @typedef {object} Dots A value an atom in each list.
 * @property {[number, number][]} places
 * @property {number[]} energy
 * @property {string[]} classes
 *
 * @typedef {object} Told What is said of an atom.
 * @property {(Node | string)[]} nodes For the tip.
 * @property {{place: number, weight: number}[]} bonds The dots it is bound to.
 *
 * @typedef {object} AtomMap
 * @property {(dots: Dots, moved?: boolean) => void} show Draw others, of which none is chosen; if these are the same
 *   atoms elsewhere, the chosen one stays so.
 * @property {() => void} draw Draw them again, in the colours and the size of now.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLElement} tip Beside it, in a box that it is placed in.
 * @param {Set<string>} hidden Classes that are not drawn.
 * @param {(place: number) => Promise<Told>} tell
 * @param {(place: number) => void} open
 * @returns {AtomMap}
 */
export function atomMap(canvas, tip, hidden, tell, open) {
  const COLOURS = { bimodal: "--bimodal", image_only: "--image", text_only: "--text", dead: "--line" };
  const MARGIN = 16;

  /** @type {Dots} */
  let dots = { places: [], energy: [], classes: [] };
  /** @type {[number, number][]} Where they are on the canvas. */
  let spots = [];
  /** @type {number[]} The strongest first: small ones are drawn above large ones. */
  let order = [];
  let chosen = -1;
  /** @type {{place: number, weight: number}[]} */
  let bonds = [];
  let turn = 0;

  /** @param {Dots} given @param {boolean} [moved] */
  function show(given, moved = false) {
    const kept = moved ? chosen : -1;
    dots = given;
    order = dots.energy.map((_, place) => place).sort((a, b) => dots.energy[b] - dots.energy[a]);
    select(-1);
    if (kept >= 0) select(kept);
  }

  function draw() {
    if (!dots.places.length || !canvas.isConnected || !canvas.clientWidth) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.scale(ratio, ratio);
    spots = spread(width, height);
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink");
    drawBonds(pen, ink);
    pen.globalAlpha = 0.75;
    const colours = Object.fromEntries(Object.entries(COLOURS).map(([kind, name]) => [kind, style.getPropertyValue(name)]));
    for (const place of order) if (!hidden.has(dots.classes[place])) drawDot(pen, place, colours[dots.classes[place]]);
    pen.globalAlpha = 1;
    if (chosen >= 0) ring(pen, ink);
    canvas.dataset.dots = String(spots.length);
  }

  /** @param {number} width @param {number} height @returns {[number, number][]} */
  function spread(width, height) {
    const [xs, ys] = [0, 1].map((axis) => dots.places.map((place) => place[axis]));
    const [left, right, low, high] = [least(xs), most(xs), least(ys), most(ys)];
    return dots.places.map(([x, y]) => [
      MARGIN + ((x - left) / (right - left || 1)) * (width - 2 * MARGIN),
      MARGIN + ((high - y) / (high - low || 1)) * (height - 2 * MARGIN),
    ]);
  }

  /** @param {number[]} values */
  const least = (values) => values.reduce((found, value) => Math.min(found, value), Infinity);
  /** @param {number[]} values */
  const most = (values) => values.reduce((found, value) => Math.max(found, value), -Infinity);
  /** @param {number} place */
  const radius = (place) => 1.6 + 11 * Math.sqrt(dots.energy[place] / dots.energy[order[0]]);

  /** @param {CanvasRenderingContext2D} pen @param {string} ink */
  function drawBonds(pen, ink) {
    const strongest = Math.max(...bonds.map(({ weight }) => Math.abs(weight)), 1e-12);
    pen.strokeStyle = ink;
    for (const { place, weight } of bonds) {
      const share = Math.abs(weight) / strongest;
      pen.globalAlpha = 0.25 + 0.65 * share;
      pen.lineWidth = 0.7 + 2.5 * share;
      pen.beginPath();
      pen.moveTo(...spots[chosen]);
      pen.lineTo(...spots[place]);
      pen.stroke();
    }
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} place @param {string} colour */
  function drawDot(pen, place, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(...spots[place], radius(place), 0, 2 * Math.PI);
    pen.fill();
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} ink */
  function ring(pen, ink) {
    pen.strokeStyle = ink;
    pen.lineWidth = 2.5;
    pen.beginPath();
    pen.arc(...spots[chosen], radius(chosen) + 3, 0, 2 * Math.PI);
    pen.stroke();
  }

  /** @param {number} place Choose it, draw its bonds and say what it is; -1 for none. */
  async function select(place) {
    if (place === chosen && place >= 0) return;
    chosen = place;
    bonds = [];
    const mine = ++turn;
    tip.hidden = true;
    draw();
    if (place < 0) return;
    const told = await tell(place);
    if (mine !== turn || !canvas.isConnected) return;
    bonds = told.bonds;
    tip.replaceChildren(...told.nodes);
    tip.hidden = !told.nodes.length;
    const [x, y] = spots[place];
    tip.style.left = `${Math.max(0, Math.min(x + 14, canvas.clientWidth - tip.offsetWidth))}px`;
    tip.style.top = `${y + 14 + tip.offsetHeight > canvas.clientHeight ? Math.max(0, y - 14 - tip.offsetHeight) : y + 14}px`;
    draw();
  }

  /** @param {MouseEvent} event @param {number} reach @returns {number} The dot there; -1 if there is none. */
  function nearest({ offsetX, offsetY }, reach) {
    let [best, far] = [-1, reach * reach];
    spots.forEach(([x, y], place) => {
      const here = (x - offsetX) ** 2 + (y - offsetY) ** 2;
      if (here < far && !hidden.has(dots.classes[place])) [best, far] = [place, here];
    });
    return best;
  }

  /** @param {number[]} way @returns {number} The next dot that way, or -1. */
  function next([right, down]) {
    const [fromX, fromY] = chosen >= 0 ? spots[chosen] : [canvas.clientWidth / 2, canvas.clientHeight / 2];
    let [best, far] = [-1, Infinity];
    spots.forEach(([x, y], place) => {
      if (place === chosen || hidden.has(dots.classes[place])) return;
      const along = (x - fromX) * right + (y - fromY) * down;
      const aside = Math.abs((x - fromX) * down) + Math.abs((y - fromY) * right);
      if (along > 0 && aside <= along && along + aside < far) [best, far] = [place, along + aside];
    });
    return best;
  }

  canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && select(nearest(event, 14)));
  canvas.addEventListener("pointerleave", () => document.activeElement !== canvas && select(-1));
  canvas.addEventListener("click", (event) => {
    const place = nearest(event, 20);
    if (place >= 0 && place === chosen) open(place);
    else select(place);
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && chosen >= 0) open(chosen);
    if (event.key === "Escape") select(-1);
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const place = next(way);
    if (place >= 0) select(place);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
  return { show, draw };
}
