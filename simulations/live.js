"use strict";
(() => {
  // Ask what is new, and show it where it differs from what is shown.
  const live = document.getElementById("live");
  let shown = "";
  const ask = async () => {
    let note = "";
    try {
      const answer = await fetch("now", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      if (text !== shown) {
        live.innerHTML = text;
        shown = text;
        document.dispatchEvent(new CustomEvent("content", { detail: live }));
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
