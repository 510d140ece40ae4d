// Buttons that copy the text of the element they name. Without this file, or where the browser allows no copying, the text is there to select.
"use strict";
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const said = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(source.textContent);
    said.textContent = said.dataset.done;
  } catch {
    getSelection().selectAllChildren(source);
    said.textContent = said.dataset.failed;
  }
});
for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
