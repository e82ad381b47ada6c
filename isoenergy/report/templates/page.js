"use strict";
/** The page's own moves: which section one is in, tabs for the autoencoders, and what is collapsed opens when it is linked. */
(() => {
  const links = /** @type {HTMLAnchorElement[]} */ ([...document.querySelectorAll(".contents a")]);
  const headings = links.map((link) => document.getElementById(link.hash.slice(1)));

  let shown = 0;
  function follow() {
    let current = 0;
    headings.forEach((heading, place) => {
      if (heading && heading.getBoundingClientRect().top < 0.3 * window.innerHeight) current = place;
    });
    const nav = links[0]?.parentElement; // on a phone it has a row, which moves along
    if (nav && current !== shown) nav.scrollLeft = links[current].offsetLeft - nav.offsetLeft - 24;
    shown = current;
    links.forEach((link, place) => {
      if (place === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  }

  let asked = false;
  window.addEventListener(
    "scroll",
    () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        follow();
      });
    },
    { passive: true },
  );
  follow();

  function reveal() {
    const target = document.getElementById(location.hash.slice(1)); // ids of ours have no letters that an address encodes
    for (let at = target; at; at = at.parentElement) if (at instanceof HTMLDetailsElement) at.open = true;
    const own = target?.nextElementSibling;
    if (own instanceof HTMLDetailsElement) own.open = true;
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  // Each group of panels has the same tabs, and shows the same autoencoder.
  const groups = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-tabs]")]);

  /** @param {number} chosen @param {HTMLElement} [from] The tab that was asked for, which stays where it is. */
  function choose(chosen, from) {
    const before = from?.getBoundingClientRect().top ?? 0;
    for (const group of groups) {
      [...group.querySelectorAll("[role=tab]")].forEach((tab, place) => {
        tab.setAttribute("aria-selected", String(place === chosen));
        /** @type {HTMLElement} */ (tab).tabIndex = place === chosen ? 0 : -1;
      });
      [...group.querySelectorAll("[role=tabpanel]")].forEach((panel, place) => {
        /** @type {HTMLElement} */ (panel).hidden = place !== chosen;
      });
    }
    if (from) window.scrollBy(0, from.getBoundingClientRect().top - before);
  }

  groups.forEach((group, number) => {
    const panels = /** @type {HTMLElement[]} */ ([...group.children]);
    if (panels.length < 2) return;
    const list = document.createElement("div");
    list.className = "tabs";
    list.setAttribute("role", "tablist");
    list.setAttribute("aria-label", "autoencoders");
    panels.forEach((panel, place) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.id = `tab-${number}-${place}`;
      tab.textContent = panel.dataset.label ?? "";
      tab.setAttribute("role", "tab");
      tab.addEventListener("click", () => choose(place, tab));
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      list.append(tab);
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const tabs = /** @type {HTMLElement[]} */ ([...list.children]);
      const place = (tabs.indexOf(/** @type {HTMLElement} */ (event.target)) + step + tabs.length) % tabs.length;
      choose(place, tabs[place]);
      tabs[place].focus();
    });
    group.prepend(list);
  });
  choose(0);
})();
