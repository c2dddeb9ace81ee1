"use strict";
(() => {
  const controls = document.getElementById("gallery-controls");
  if (!controls) return;
  const lists = [...document.querySelectorAll("#mistakes ol.gallery")];
  const groups = lists.map((list) => ({ list, items: [...list.children] }));
  const chosen = (name) => controls.querySelector(`select[name="${name}"]`)?.value ?? "";

  const marginOf = (item, rule) => {
    const pairs = item.dataset.margins.split(" ").filter(Boolean).map((pair) => pair.split(":"));
    const own = pairs.filter(([number]) => rule === "" || number === rule);
    return own.length ? Math.max(...own.map(([, margin]) => Number(margin))) : null;
  };

  const isShown = (item) =>
    ["kind", "class"].every((name) => ["", item.dataset[name]].includes(chosen(name))) &&
    (chosen("rule") === "" || marginOf(item, chosen("rule")) !== null);

  const keyOf = (item, what) => {
    if (what === "margin") return marginOf(item, chosen("rule"));
    return item.dataset.score === "" ? null : Number(item.dataset.score);
  };

  const sorted = (items) => {
    const [what, direction] = chosen("order").split("-");
    if (what === "") return items;
    const sign = direction === "up" ? 1 : -1;
    const known = items.filter((item) => keyOf(item, what) !== null);
    const unknown = items.filter((item) => keyOf(item, what) === null);
    known.sort((a, b) => sign * (keyOf(a, what) - keyOf(b, what)));
    return [...known, ...unknown];
  };

  const update = () => {
    let numShown = 0;
    for (const { list, items } of groups) {
      for (const item of items) item.hidden = !isShown(item);
      const left = items.filter((item) => !item.hidden).length;
      list.append(...sorted(items));
      list.hidden = left === 0;
      list.previousElementSibling.hidden = left === 0;
      numShown += left;
    }
    const total = groups.reduce((sum, group) => sum + group.items.length, 0);
    controls.querySelector("output").textContent = `${numShown} of ${total} shown`;
  };

  controls.addEventListener("change", update);
  controls.hidden = false;
  update();
})();
