// The keyboard of a reviewer, copying, and lists to choose from. Every page works without it.
"use strict";

(() => {
  const FIELDS = "input, textarea, select, [contenteditable]";
  const OFF = "banyan-keys-off";
  const keys = document.getElementById("keys");
  const on = document.getElementById("keys-on");

  const isOff = () => {
    try {
      return localStorage.getItem(OFF) === "1";
    } catch {
      return false; // storage may be forbidden: then keys can't be turned off for good
    }
  };

  const show = () => document.documentElement.classList.toggle("keys-on", !isOff()); // beside what they do
  show();
  for (const each of document.querySelectorAll("[data-js]")) each.hidden = false;

  // Of several with the same key, the first that can be seen.
  const target = (key) => [...document.querySelectorAll(`[data-key="${key}"]`)].find((each) => each.getClientRects().length);

  const follow = (found) => {
    if (found.matches("summary")) {
      const details = found.parentElement;
      details.open = true;
      (details.querySelector("textarea, input:not([type=hidden])") || found).focus();
    } else if (found.matches(FIELDS)) {
      found.focus();
    } else {
      found.click();
    }
  };

  const ALIASES = { ArrowRight: "j", ArrowLeft: "k" };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const inField = event.target instanceof Element && event.target.closest(FIELDS);
    if (event.key === "Escape") {
      if (keys && keys.open) {
        // It would close by itself, and lose the focus, but later than the next key may come.
        event.preventDefault();
        keys.close();
        if (keys.contains(document.activeElement)) document.activeElement.blur();
        return;
      }
      const open = event.target instanceof Element ? event.target.closest("details[open]") : null;
      if (open && open.closest(".decide")) {
        open.open = false;
        open.querySelector("summary").focus();
      } else if (inField) {
        event.target.blur();
      }
      return;
    }
    if (inField) {
      if (event.key === "Enter" && !event.shiftKey && event.target.dataset.enter) {
        event.preventDefault();
        document.getElementById(event.target.dataset.enter)?.click();
      }
      return;
    }
    if (isOff() && event.key !== "?") return;
    if (keys && keys.open) return;
    if (event.shiftKey && event.key !== "?") return;
    const scrolls = event.target instanceof Element && event.target.closest("[tabindex='0']");
    const key = ALIASES[event.key] && !scrolls ? ALIASES[event.key] : event.key;
    if (!/^[a-z?]$/.test(key)) return;
    const found = target(key);
    if (found) {
      event.preventDefault();
      follow(found);
    }
  });

  for (const opener of document.querySelectorAll("[data-open]")) {
    const dialog = document.getElementById(opener.dataset.open);
    if (!dialog) continue;
    opener.hidden = false;
    opener.addEventListener("click", () => dialog.showModal());
  }
  if (on) {
    on.checked = !isOff();
    on.addEventListener("change", () => {
      try {
        localStorage.setItem(OFF, on.checked ? "0" : "1");
      } catch {
        // as above
      }
      show();
    });
  }

  // Copying. By plain HTTP from elsewhere there is no clipboard but the old one, which copies what is marked, and so what is shown.
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard && button.dataset.from) continue;
    button.hidden = false;
    const line = document.getElementById(button.dataset.copy);
    const said = button.parentElement.querySelector("[data-copied]");
    button.addEventListener("click", async () => {
      if (navigator.clipboard) {
        await navigator.clipboard.writeText(button.dataset.from ? await (await fetch(button.dataset.from)).text() : line.textContent);
      } else {
        getSelection().selectAllChildren(line);
        document.execCommand("copy");
      }
      said.hidden = false;
    });
  }

  // The list: how many are chosen. What refreshes itself waits while something is.
  const chosen = () => document.querySelectorAll("#signature-list [name=chosen]:checked").length;
  document.addEventListener("change", (event) => {
    const list = event.target.closest && event.target.closest("#signature-list");
    if (list) list.querySelector("[data-chosen]").textContent = chosen() || "";
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const list = document.getElementById("signature-list");
    const typing = list && list.contains(document.activeElement) && document.activeElement.matches(FIELDS);
    if (list && event.detail.target.contains(list) && (chosen() || typing)) event.detail.shouldSwap = false;
  });
})();
