"use strict";
(function () {
  const said = document.getElementById("said");

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  async function copy(element) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch (refused) {
      select(element);
      return document.execCommand("copy");
    }
  }

  for (const element of document.querySelectorAll(".copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy: " + element.textContent);
    (element.closest("code") || element).after(" ", button);
  }

  function leaves(list, path) {
    return Array.from(list.children).flatMap(function (item) {
      const details = item.querySelector(":scope > details");
      const own = (details ? details.querySelector("summary > .name") : item.firstElementChild).textContent;
      const name = own === "(itself)" ? path.slice(0, -1) : path + own;
      if (details) return leaves(details.querySelector(":scope > ul"), name + ".");
      return [{ item: item, text: (name + " " + item.textContent).toLowerCase() }];
    });
  }

  function filtered(tree) {
    const all = leaves(tree, "");
    const branches = Array.from(tree.querySelectorAll("li.branch"));
    let before = null;
    return function (wanted) {
      const parts = wanted.toLowerCase().split(/\s+/).filter(Boolean);
      if (parts.length && !before) before = branches.map((branch) => branch.firstElementChild.open);
      const kept = new Set();
      let count = 0;
      for (const leaf of all) {
        leaf.item.hidden = !parts.every((part) => leaf.text.includes(part));
        if (leaf.item.hidden) continue;
        count += 1;
        for (let up = leaf.item.parentElement.closest("li.branch"); up && !kept.has(up); up = up.parentElement.closest("li.branch")) kept.add(up);
      }
      branches.forEach(function (branch, i) {
        branch.hidden = parts.length > 0 && !kept.has(branch);
        if (parts.length) branch.firstElementChild.open = true;
        else if (before) branch.firstElementChild.open = before[i];
      });
      if (!parts.length) before = null;
      return parts.length ? count.toLocaleString("en") + " of " + all.length.toLocaleString("en") + " layers" : "";
    };
  }

  for (const tree of document.querySelectorAll("[data-filter]")) {
    const label = document.createElement("label");
    const field = document.createElement("input");
    const count = document.createElement("span");
    let show = null;
    label.className = "filter";
    label.textContent = "Filter layers ";
    field.type = "search";
    field.placeholder = "name, verdict, type";
    field.setAttribute("aria-label", "Filter layers of " + tree.dataset.filter);
    count.className = "quiet";
    label.append(field, " ", count);
    (tree.previousElementSibling.matches(".heads") ? tree.previousElementSibling : tree).before(label);
    field.addEventListener("input", function () {
      show = show || filtered(tree);
      count.textContent = show(field.value);
      said.textContent = count.textContent;
    });
  }

  document.addEventListener("click", async function (event) {
    const button = event.target.closest("button");
    if (!button) return;
    const done = await copy(button.parentElement.querySelector(".copy"));
    button.textContent = done ? "Copied" : "Selected";
    said.textContent = done ? "Copied." : "Selected, press the keys to copy.";
    setTimeout(function () {
      button.textContent = "Copy";
      said.textContent = "";
    }, 2000);
  });

  const opened = [];
  window.addEventListener("beforeprint", function () {
    for (const closed of document.querySelectorAll("details:not([open])")) {
      if (closed.closest(".tree:not(.few)")) continue;
      closed.open = true;
      opened.push(closed);
    }
  });
  window.addEventListener("afterprint", function () {
    for (const one of opened.splice(0)) one.open = false;
  });
})();
