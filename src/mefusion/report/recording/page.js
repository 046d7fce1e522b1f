"use strict";
// Sorting: a click on a column's head, or Enter on it. A second one turns the order round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table"), place = head.cellIndex;
    const order = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
    const value = row => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
    const compare = head.classList.contains("number")
      ? (a, b) => (value(a) === "") - (value(b) === "") || order * (value(a) - value(b))  // empty cells come last
      : (a, b) => order * value(a).localeCompare(value(b));
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}

// The points of a curve, px: its path has absolute starts and relative lines.
function points(curve) {
  if (!curve.points) {
    curve.points = [];
    const fine = Number(document.body.dataset.fine);
    for (const run of curve.getAttribute("d").split("M").slice(1)) {
      const numbers = run.match(/-?\d+/g).map(Number);
      let x = 0, y = 0;
      for (let i = 0; i < numbers.length; i += 2) {
        x += numbers[i];
        y += numbers[i + 1];
        curve.points.push([x / fine, y / fine]);
      }
    }
  }
  return curve.points;
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60), rest = (seconds - 60 * minutes).toFixed(2).padStart(5, "0");
  const hours = Math.floor(minutes / 60), shown = String(minutes % 60);
  return (hours ? hours + ":" + shown.padStart(2, "0") : shown) + ":" + rest;
}

// The largest score that a curve has within a pixel of x; undefined where it was not measured.
function scoreAt(curve, x, panel) {
  let highest;
  for (const [place, y] of points(curve)) {
    if (Math.abs(place - x) <= panel.reach) highest = Math.min(highest ?? Infinity, y);
  }
  if (highest === undefined) return undefined;
  const score = panel.ceiling * (panel.bottom - highest) / (panel.bottom - panel.top);
  return score > panel.ceiling - 0.005 ? panel.ceiling.toFixed(1) + " or more" : score.toFixed(2);
}

for (const chart of document.querySelectorAll("svg.chart")) {
  const {start, end, left, width, step} = Object.fromEntries(
    Object.entries(chart.dataset).map(([name, text]) => [name, Number(text)]));
  const cursor = chart.querySelector(".cursor"), readout = chart.closest(".holder").querySelector(".readout");
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) * chart.viewBox.baseVal.width / box.width;
    if (x < left || x > left + width) return;
    const texts = [];
    for (const group of chart.querySelectorAll(".panel")) {
      const {top, bottom, ceiling} = group.dataset;
      const panel = {top: Number(top), bottom: Number(bottom), ceiling: Number(ceiling), reach: Math.max(1, step / 2)};
      for (const curve of group.querySelectorAll(".curve")) {
        texts.push(curve.dataset.name + " " + (scoreAt(curve, x, panel) ?? "-"));
      }
    }
    readout.textContent = clock(start + (x - left) / width * (end - start)) + "  " + texts.join(", ");
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = "visible";
  });
  chart.addEventListener("pointerleave", () => {
    cursor.style.visibility = "hidden";
    readout.textContent = "";
  });
}
