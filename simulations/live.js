"use strict";
(() => {
  // Ask what is new, and show it where it differs from what is shown.
  const live = document.getElementById("live");
  let shown = "";
  // Tables are known by their headings; what the user sorted by holds for what is drawn after it.
  const chosen = () => [...live.querySelectorAll("[aria-sort]")].map(
    (head) => [head.closest("thead").textContent, head.cellIndex, head.getAttribute("aria-sort")]);
  const sort = (sorts) => {
    for (const head of live.querySelectorAll("thead")) for (const [headings, column, order] of sorts) {
      if (head.textContent !== headings) continue;
      const button = head.rows[0].cells[column].querySelector("button");
      button.click();
      if (order === "descending") button.click();
    }
  };
  const ask = async () => {
    let note = "";
    try {
      const answer = await fetch("now", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      if (text !== shown) {
        const sorts = chosen();
        live.innerHTML = text;
        shown = text;
        document.dispatchEvent(new CustomEvent("content", { detail: live }));
        sort(sorts);
      }
    } catch {
      note = "The run's process has ended or cannot be reached; this is what it said last.";
    }
    let warning = document.getElementById("gone");
    if (note && !warning) {
      warning = document.createElement("div");
      warning.id = "gone";
      warning.className = "warn";
      warning.textContent = note;
      live.before(warning);
    } else if (!note && warning) {
      warning.remove();
    }
    setTimeout(ask, 2000);
  };
  ask();
})();
