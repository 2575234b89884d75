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
