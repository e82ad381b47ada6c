/** The map of the dictionary, as the server knows it. */

import { choices, hashOf, rewrite } from "./address.js";
import { atomMap } from "./atom_map.js";
import { complain, el, className, nameOf, state, strip, whole } from "./parts.js";
import { query } from "./server.js";

const CLASSES = ["bimodal", "image_only", "text_only"];
const { now: chosen, written, take } = choices({ by: "umap", hidden: "" }, {
  by: { called: "map by", of: ["umap", "pca"] },
  hidden: { called: "class", of: ["", ...CLASSES], several: true },
});
export const map = { show, written, take, focus: () => /** @type {HTMLElement | null} */ (document.querySelector("canvas.map"))?.focus() };

/** @param {HTMLElement} view */
function show(view) {
  const hidden = new Set(chosen.hidden.split(","));
  const canvas = el("canvas", { class: "map", tabindex: 0, role: "application", "aria-roledescription": "map of atoms", "aria-label": "map of atoms: arrow keys go to the next atom that way, Enter opens it" });
  const tip = el("div", { class: "tip", role: "status", "aria-live": "polite", hidden: true });
  const said = el("p", { class: "quiet", role: "status" });
  const by = el("select", { id: "map-by", onchange: () => { chosen.by = by.value; rewrite(); load(); } },
    ...[["umap", "neighbourhood (UMAP)"], ["pca", "principal axes"]].map(([value, text]) => el("option", { value, text, selected: chosen.by === value })));
  view.append(
    el("h2", { class: "hidden", text: "Map" }),
    el("div", { class: "choosing" }, el("label", { text: "Placed by" }, by),
      ...CLASSES.map((kind) => el("label", { class: "box" }, el("input", { type: "checkbox", id: `map-${kind}`, checked: !hidden.has(kind), onchange: (/** @type {any} */ event) => {
        if (event.target.checked) hidden.delete(kind);
        else hidden.add(kind);
        chosen.hidden = CLASSES.filter((each) => hidden.has(each)).join(",");
        rewrite();
        drawn.draw();
      } }), " ", el("span", { class: `key ${kind}`, text: className(kind) })))),
    el("p", { class: "quiet", text: "A dot is an atom, its area the energy; near ones point the same way. Point at or tap one to see what fires it, and by lines what it is bound to in pairs; click it to open it." }),
    said,
    el("div", { class: "mapped" }, canvas, tip),
  );

  /** @type {any} */
  let found = null;
  /** @type {Map<number, number>} */
  let placeOf = new Map();
  const drawn = atomMap(canvas, tip, hidden, tell, (place) => (location.hash = hashOf(state.sae, found.atoms[place])));

  async function load() {
    const mine = by.value;
    try {
      if (!found) {
        said.textContent = "Placing the atoms …";
        const first = await query("map", { sae: state.sae, by: "pca" }); // it is there at once, and UMAP takes all cores
        if (!canvas.isConnected) return;
        place(first);
      }
      const now = await query("map", { sae: state.sae, by: mine });
      if (mine !== by.value || !canvas.isConnected) return;
      if (now.places) {
        said.textContent = "";
        place(now);
      } else {
        said.textContent = now.has_umap ? "UMAP is being computed; until then, principal axes." : `UMAP takes minutes for ${whole(now.atoms.length)} atoms; these are the principal axes.`;
        if (now.has_umap) setTimeout(() => canvas.isConnected && mine === by.value && load(), 1500);
      }
    } catch (error) {
      complain(error);
    }
  }

  /** @param {any} now */
  function place(now) {
    const moved = found !== null;
    found = now;
    placeOf = new Map(found.atoms.map((/** @type {number} */ atom, /** @type {number} */ number) => [atom, number]));
    drawn.show(found, moved);
  }

  /** @param {number} place */
  async function tell(place) {
    const atom = found.atoms[place];
    try {
      const [top, lines] = await Promise.all([query(`atoms/${atom}/top`, { sae: state.sae }), query(`atoms/${atom}/bonds`, { sae: state.sae })]);
      return {
        bonds: lines.map((/** @type {any} */ { atom: other, weight }) => ({ place: placeOf.get(other) ?? -1, weight })).filter((/** @type {any} */ bond) => bond.place >= 0),
        nodes: [
          el("strong", { text: nameOf({ atom, label: found.labels[place] }) }), el("span", { class: "quiet", text: ` ${atom}, ${className(found.classes[place])}` }),
          strip(top.top, top.captions), el("span", { class: "quiet", text: top.captions[top.top[0]?.pair] ?? "" }),
        ],
      };
    } catch (error) {
      complain(error);
      return { bonds: [], nodes: [] };
    }
  }

  load();
}
