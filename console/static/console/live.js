"use strict";
// Keeps the parts of a page that are marked data-live up to date, and says so when it can't.
//
// htmx asks for a part every few seconds, with the ETag of what is there; what comes is laid over the old part node by node, so that focus,
// selection, scrolling, open details and ticked boxes stay. In a hidden tab nothing is asked.
(() => {
  const OLD = 10000; // ms: figures that are older are said to be
  const GRACE = 3000; // ms: for the first answer after a tab was hidden
  let good = Date.now();
  let shown = Date.now();
  const tags = new Map();
  window.htmx.config.timeout = 8000;

  // Moments: <time data-at="Unix seconds"> say how long ago that was.
  const words = document.getElementById("ago");
  const LENGTHS = [["d", 86400], ["h", 3600], ["min", 60]];
  function ago(seconds, tenths) {
    if (tenths && seconds < 10) return words.dataset.s.replace("{n}", seconds.toFixed(1));
    for (const [unit, length] of LENGTHS) {
      if (seconds >= 2 * length) return words.dataset[unit].replace("{n}", String(Math.floor(seconds / length)));
    }
    return words.dataset.s.replace("{n}", String(Math.floor(seconds)));
  }
  function count() {
    const now = Date.now() / 1000;
    for (const each of document.querySelectorAll("time[data-at]")) {
      const said = (each.dataset.prefix || "") + ago(Math.max(0, now - Number(each.dataset.at)), each.dataset.live);
      if (each.textContent !== said) each.textContent = said;
    }
  }

  // What is stale
  const stale = document.getElementById("stale");
  function judge() {
    const now = Date.now();
    const old = !document.hidden && now - good > OLD && now - shown > GRACE;
    if (old) {
      const at = new Date(good).toISOString().slice(11, 19) + " UTC";
      const said = stale.dataset.text.replace("{at}", at).replace("{seconds}", String(Math.round((now - good) / 1000)));
      if (stale.hidden) stale.textContent = said; // read out once; what counts on is the title
      stale.title = said;
    }
    if (stale.hidden === old) stale.hidden = !old;
    document.body.classList.toggle("is-stale", old);
  }
  function answered() {
    good = Date.now();
    judge();
  }
  window.banyanLive = { answered };

  // Laying the new over the old
  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType === Node.ELEMENT_NODE && old.matches("[data-keep], output")) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !kept(old, name)) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
    }
    if (old.matches("time[data-at]")) return; // its text is counted here
    if (old.matches("input, textarea, select")) return; // a person's
    children(old, fresh);
  }
  function kept(element, name) {
    // What is ticked says what its person saw: whatever somebody else has made of it since, the server is to find out by that.
    if (name === "value" && element.matches("input[type=checkbox]:checked")) return true;
    return (name === "open" && element.nodeName === "DETAILS") || name === "class" && element.classList.contains("htmx-request");
  }
  function children(old, fresh) {
    const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    const wanted = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
    const alike = (one, other) => !one.id && one.nodeType === other.nodeType && one.nodeName === other.nodeName;
    let at = old.firstChild;
    const drop = () => {
      const next = at.nextSibling;
      at.remove();
      at = next;
    };
    for (const child of [...fresh.childNodes]) {
      while (at && at.id && !wanted.has(at.id)) drop();
      const mine = child.id ? named.get(child.id) : undefined;
      if (mine) {
        if (mine === at) at = at.nextSibling;
        else if (old.moveBefore) old.moveBefore(mine, at); // keeps what is in it as it was, the focus too
        else old.insertBefore(mine, at);
        morph(mine, child);
        continue;
      }
      let match = child.id ? null : at;
      if (child.nodeType === Node.ELEMENT_NODE) while (match && !alike(match, child)) match = match.nextSibling;
      if (!match || !alike(match, child)) {
        old.insertBefore(child, at);
        continue;
      }
      while (at !== match) { // what is gone; rows that are only elsewhere now are met again
        if (at.id && wanted.has(at.id)) {
          const next = at.nextSibling;
          old.insertBefore(at, match.nextSibling);
          at = next;
        } else drop();
      }
      at = match.nextSibling;
      morph(match, child);
    }
    while (at) drop();
  }
  function lay(part, text) {
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById(part.id);
    if (!fresh) return false; // another page, such as the login
    const focused = document.activeElement;
    const within = part.contains(focused);
    const selection = document.getSelection();
    const chosen = [selection.anchorNode, selection.anchorOffset, selection.focusNode, selection.focusOffset];
    for (const each of ["hx-get", "hx-trigger"]) fresh.setAttribute(each, part.getAttribute(each)); // the address that it was begun with
    const [left, top] = [window.scrollX, window.scrollY];
    const boxes = [...part.querySelectorAll(".scroll")].map((box) => [box, box.scrollLeft]);
    morph(part, fresh);
    for (const [box, x] of boxes) if (box.scrollLeft !== x) box.scrollLeft = x;
    if (within && focused !== document.activeElement && document.contains(focused)) focused.focus({ preventScroll: true });
    const moved = [selection.anchorNode, selection.anchorOffset, selection.focusNode, selection.focusOffset];
    if (chosen.some((each, place) => each !== moved[place]) && chosen[0]?.isConnected && chosen[2]?.isConnected) {
      const fits = [[0, 1], [2, 3]].every(([node, offset]) => chosen[offset] <= (chosen[node].length ?? chosen[node].childNodes.length));
      if (fits) selection.setBaseAndExtent(...chosen);
    }
    if (window.scrollX !== left || window.scrollY !== top) window.scrollTo(left, top);
    count();
    part.dispatchEvent(new CustomEvent("banyan:laid", { bubbles: true }));
    return true;
  }

  document.addEventListener("htmx:configRequest", (event) => {
    const tag = tags.get(event.detail.elt.id);
    if (event.detail.elt.matches("[data-live]") && tag) event.detail.headers["If-None-Match"] = tag;
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.matches("[data-live]") && document.hidden) event.preventDefault();
  });
  // Who is logged out meanwhile is led to the login, but not away from what he has typed: then the page only says that it is old.
  const typed = () => [...document.querySelectorAll("textarea, input:not([type=hidden], [type=checkbox], [type=radio])")]
    .some((field) => field.value !== field.defaultValue);
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    const { elt, xhr } = event.detail;
    if (elt.matches("[data-live]") && xhr.getResponseHeader("HX-Refresh") && typed()) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const part = event.detail.elt;
    const xhr = event.detail.xhr;
    if (!part.matches("[data-live]") || !xhr) return;
    if (xhr.status !== 200 && xhr.status !== 304) return;
    const confirmed = xhr.getResponseHeader("Banyan-Confirmed");
    if (xhr.status === 200) {
      if (!lay(part, xhr.responseText)) return;
      tags.set(part.id, xhr.getResponseHeader("ETag"));
    }
    answered();
    if (confirmed) for (const each of document.querySelectorAll("time[data-live=confirmed]")) each.dataset.at = confirmed;
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    shown = Date.now();
    for (const part of document.querySelectorAll("[data-live]")) window.htmx.trigger(part, "refresh");
  });
  setInterval(() => {
    if (document.hidden) return;
    count();
    judge();
  }, 1000);
})();
